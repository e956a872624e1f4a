"""The command line: ``python -m cluster up|down|status|env|kubectl and more``, with ``tests/`` on the path."""

import os
import shlex
import sys
import time
from typing import Annotated

import typer

from cluster import containers, images, layout, lifecycle, volumes
from cluster.api import Api
from cluster.commands import ClusterError, unproxied
from cluster.programs import program
from cluster.target import VARIABLE, target

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
_FORWARD = {
    "allow_extra_args": True,
    "allow_interspersed_args": False,  # else a program's own -- would be lost
    "ignore_unknown_options": True,
    "help_option_names": [],
}


@app.command()
def build() -> None:
    """Build the programs and install the packages that a node needs; up does that too."""
    lifecycle.build()


@app.command()
def up() -> None:
    """Start the node, or what of it does not run; needs root. An existing cluster that is set is only named."""
    began = time.monotonic()
    chosen = target()
    if not chosen.is_ours:
        typer.echo(f"using the existing cluster {chosen.context}")
        return
    lifecycle.up()
    typer.echo(
        f"the node is ready after {time.monotonic() - began:.1f} s: export KUBECONFIG={layout.kubeconfig()}"
    )


@app.command()
def down(
    images: Annotated[bool, typer.Option("--images", help="Remove the imported images too.")] = False,
) -> None:
    """End the node and remove every trace of it; its images and last logs stay in the cache."""
    if remaining := lifecycle.down(images_too=images):
        raise ClusterError("still there:\n  " + "\n  ".join(remaining))


@app.command()
def status() -> None:
    """Tell which programs run; ends with 1 if one does not."""
    found = lifecycle.status()
    for name, process in found.items():
        typer.echo(f"{name:24} {process or 'does not run'}")
    raise typer.Exit(code=int(None in found.values()))


@app.command()
def env() -> None:
    """Print what a shell exports to use the cluster: eval "$(python -m cluster env)"."""
    chosen = target()
    typer.echo(f"export KUBECONFIG={chosen.kubeconfig}")
    if not chosen.is_ours:
        typer.echo(f"export {VARIABLE}={chosen.context}")
    else:
        for name in ("NO_PROXY", "no_proxy"):
            typer.echo(f"export {name}={shlex.quote(unproxied(os.environ)[name])}")
    typer.echo(f"export PATH=$PATH:{layout.bin_folder()}")  # last: its `node` is not JavaScript's


@app.command(context_settings=_FORWARD)
def kubectl(context: typer.Context) -> None:
    """Run kubectl on the cluster."""
    chosen = target()
    arguments = [str(program("kubectl")), f"--context={chosen.context}", *context.args]
    os.execve(arguments[0], arguments, unproxied(os.environ) | {"KUBECONFIG": chosen.kubeconfig})


@app.command("images", context_settings=_FORWARD)
def build_images(context: typer.Context) -> None:
    """Build the services' images."""
    images.main(context.args)


@app.command("load")
def load_images() -> None:
    """Build the services' images and give the node those that it lacks."""
    _refuse_others()
    images.import_into(containers, list(images.build().values()))


@app.command("volumes")
def offer_volumes() -> None:
    """Offer the static volumes anew: those of deleted claims are emptied."""
    _refuse_others()
    volumes.offer(Api(layout.kubeconfig()))


def _refuse_others() -> None:
    """What is for our own node must not change it while another cluster is meant."""
    chosen = target()
    if not chosen.is_ours:
        raise ClusterError(
            f"{chosen.context} is not the node of cluster-up, which alone can be given images and volumes here: "
            f"unset KUBECONFIG and {VARIABLE}"
        )


def main() -> None:
    """Tell an expected error in one line."""
    try:
        app()
    except ClusterError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
