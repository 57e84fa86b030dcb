"""Which of an environment's two faces a container gets (FH §6.1, §8.3). What each one means is elsewhere."""

from enum import StrEnum


class Mode(StrEnum):
    """`RUN` is what a program needs to run; `DEV` adds what a compiler needs to find."""

    RUN = "run"
    DEV = "dev"
