"""What every command shares: options, output for people and for scripts, errors, exit codes."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import click_compat
