"""``sluice recommend``: ask the running API, as a client would."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from sluice_cli.commands.local import JsonOption
from sluice_cli.commands.shell import Failed, InputError, show_json, show_table

TIMEOUT_S = 10.0


def recommend(
    user: Annotated[str, typer.Argument(help="Id of a user.")],
    n: Annotated[int, typer.Option("--n", "-n", min=1, max=100, help="How many items.")] = 10,
    url: Annotated[str, typer.Option("--url", help="Where the API answers.")] = "http://127.0.0.1:8080",
    as_json: JsonOption = False,
) -> None:
    """Recommend items to a user.

    \b
    Examples:
      sluice recommend 448
      sluice recommend 448 --n 5 --json
      sluice recommend 448 --url http://127.0.0.1:9000
    """
    answer = fetch(f"{url.rstrip('/')}/v1/recommendations/{quote(user, safe='')}?n={n}", url)
    if as_json:
        show_json(answer)
        return
    typer.echo(f"{answer['strategy']}, by {answer['snapshot'] or 'no snapshot'} ({answer['track']})")
    rows = [
        [
            str(place),
            item["item_id"],
            str((item.get("metadata") or {}).get("title", "")),
            f"{item['score']:.3f}",
        ]
        for place, item in enumerate(answer["items"], 1)
    ]
    show_table(("#", "item", "title", "score"), rows, right=("#", "score"))


def fetch(address: str, api: str) -> dict[str, Any]:
    """Return the JSON body of a GET; raises :class:`Failed` with what the API says, or that none answers."""
    import msgspec
    import urllib3

    if not api.startswith(("http://", "https://")):
        raise InputError(f"--url {api} is no address; give one such as http://127.0.0.1:8080")
    try:
        response = urllib3.request("GET", address, timeout=TIMEOUT_S, retries=False)
        document: Any = msgspec.json.decode(response.data)
    except urllib3.exceptions.LocationParseError as error:
        raise InputError(f"--url {api} is no address; give one such as http://127.0.0.1:8080") from error
    except urllib3.exceptions.HTTPError as error:
        raise Failed(f"no API answers at {api}; start one with sluice up, or give its --url") from error
    except msgspec.DecodeError as error:
        raise Failed(f"{api} does not answer as Sluice does; give the API's --url") from error
    if response.status != 200:
        raise Failed(f"the API refused ({response.status}): {_detail(document)}")
    if not isinstance(document, dict) or "items" not in document:
        raise Failed(f"{api} does not answer as Sluice does; give the API's --url")
    return document


def _detail(document: Any) -> str:
    detail = document.get("detail") if isinstance(document, dict) else None
    return str(detail or "it gave no reason")
