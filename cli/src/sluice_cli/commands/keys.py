"""``sluice keys``: make, list and revoke the API keys of a file."""

import secrets
from pathlib import Path
from typing import Annotated, Final

import typer

from sluice_cli.commands.local import JsonOption
from sluice_cli.commands.shell import InputError, show_json, show_table

PREFIX: Final = "sluice_"
"""Begins every key, so that one that leaked is recognised by scanners."""
KEY_BYTES: Final = 32

app = typer.Typer(name="keys", no_args_is_help=True, help="Make, list and revoke API keys.")
KeysFileOption = Annotated[
    Path, typer.Option("--file", "-F", help="File of keys that SLUICE_KEYS_FILE of the API names.")
]
NameArgument = Annotated[str, typer.Argument(help="Name of the key: a-z, 0-9, '-' and '.'.")]


@app.command()
def create(
    name: NameArgument,
    file: KeysFileOption,
    scope: Annotated[list[str], typer.Option("--scope", help="read, write or admin; repeat for several.")],
) -> None:
    """Make a key and print it, once: the file holds only its SHA-256.

    \b
    Examples:
      sluice keys create shop --scope read --scope write --file keys.json
      sluice keys create catalogue --scope admin --file keys.json
    """
    from sluice_recommender.api.keys import InvalidKeys, new
    from sluice_recommender.api.keys_file import changing

    secret = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    try:
        key = new(name, dict.fromkeys(scope), secret)
        with changing(file) as keys:
            if any(each.name == name for each in keys):
                raise InputError(f"{file} has a key {name} already; revoke it or choose another name")
            keys.append(key)
    except InvalidKeys as error:
        raise InputError(str(error)) from error
    typer.echo(secret)


@app.command(name="list")
def list_keys(file: KeysFileOption, as_json: JsonOption = False) -> None:
    """List names and scopes.

    \b
    Examples:
      sluice keys list --file keys.json
      sluice keys list --file keys.json --json
    """
    from sluice_recommender.api.keys import InvalidKeys
    from sluice_recommender.api.keys_file import read

    try:
        keys = read(file).all
    except InvalidKeys as error:
        raise InputError(str(error)) from error
    if as_json:
        show_json([{"name": each.name, "scopes": each.scopes} for each in keys])
        return
    show_table(("name", "scopes"), [[each.name, ", ".join(each.scopes)] for each in keys])


@app.command()
def revoke(name: NameArgument, file: KeysFileOption) -> None:
    """Take a key out of the file; the API refuses it a second later.

    \b
    Examples:
      sluice keys revoke shop --file keys.json
      sluice keys revoke catalogue --file /etc/sluice/keys.json
    """
    from sluice_recommender.api.keys import InvalidKeys
    from sluice_recommender.api.keys_file import changing

    try:
        with changing(file) as keys:
            kept = [each for each in keys if each.name != name]
            if len(kept) == len(keys):
                raise InputError(f"{file} has no key {name}; sluice keys list names them")
            keys[:] = kept
    except InvalidKeys as error:
        raise InputError(str(error)) from error
    typer.echo(f"revoked {name}")
