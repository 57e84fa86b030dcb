"""The doctor's own flags. Apart from the rest, so that a command line that wants no doctor loads none of it."""

import argparse
from pathlib import Path


def add_doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--launcher", type=Path, metavar="PATH", help="the launcher (default: what containerd runs)")
    parser.add_argument(
        "--containerd-config", type=Path, metavar="FILE", help="containerd's (default: /etc/containerd/config.toml)"
    )
