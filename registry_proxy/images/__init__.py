"""From a generation to the bytes of an image. Pure: the same values give the same bytes on every replica, for ever."""
