"""Options that several Kubeflow commands share."""

import click

host = click.option(
    "--host",
    required=True,
    envvar="KFP_HOST",
    help="Address of the Kubeflow Pipelines API, starting with http:// or https://.",
)
namespace = click.option("--namespace", help="Namespace of your profile, on a Kubeflow with several users.")
overrides = click.option(
    "--set",
    "-S",
    "overrides",
    multiple=True,
    metavar="[FILE:]KEY=VALUE",
    help="Change a setting, in the syntax of `dvc exp run -S`. Keys of operations.yaml need no FILE.",
)
