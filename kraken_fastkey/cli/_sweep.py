"""`sweep`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import attrs
import click
from rich.table import Table
from rich.text import Text

from kraken_fastkey import KeyInfo
from kraken_fastkey.cli._command import ProfileCommand
from kraken_fastkey.cli._deleting import Deletions, delete_each, report_deletions
from kraken_fastkey.cli._dry_run import plan_request, show_requests
from kraken_fastkey.cli._exits import Exit
from kraken_fastkey.cli._invocation import Invocation
from kraken_fastkey.cli._keys import is_expired
from kraken_fastkey.cli._options import SPAN, ask_options
from kraken_fastkey.cli._output import make_table, shown
from kraken_fastkey.cli._session import open_client
from kraken_fastkey.cli._times import relative, to_json

__all__ = ["sweep_command"]


@attrs.frozen
class Rule:
    """Which keys to delete: those that have expired, and old ones whose names begin so.

    Attributes:
        prefix: What the names begin with; `None` for expired keys alone.
        older_than: How old those are, at least.
    """

    prefix: str | None
    older_than: timedelta | None

    def why(self, key: KeyInfo, now: float) -> str | None:
        """Return why a key is to be deleted, or `None` if it is not."""
        if is_expired(key, now) and key.valid_until is not None:
            return f"expired {relative(key.valid_until, now)}"
        if self.prefix is None or self.older_than is None or not key.api_key_name.startswith(self.prefix):
            return None
        # Of a key whose age is not known, nothing is guessed.
        if key.created_time is None or now - key.created_time.timestamp() <= self.older_than.total_seconds():
            return None
        return f"made {relative(key.created_time, now)}"


@click.command("sweep", cls=ProfileCommand)
@click.option("--prefix", metavar="TEXT", help="Also keys whose names begin so, and that are older than --older-than.")
@click.option("--older-than", type=SPAN, metavar="SPAN", help="How old those are, at least: 7d, 12h, 30m.")
@ask_options
@click.pass_obj
def sweep_command(
    invocation: Invocation, *, prefix: str | None, older_than: timedelta | None, yes: bool, dry_run: bool
) -> int:
    """Delete keys that have expired, or are old.

    Old ones only with --prefix and --older-than, which say which. It shows a list, and asks first. No other key is
    touched.
    """
    if (prefix is None) != (older_than is None):
        raise click.UsageError("--prefix and --older-than go together: pass both, or none for expired keys alone")
    if prefix == "":
        raise click.UsageError("--prefix is empty, which would be every key: say what the names begin with")
    rule = Rule(prefix, older_than)
    plan = invocation.run(_plan(invocation, rule))
    told = [_tell(key, why) for key, why in plan]
    if dry_run and invocation.as_json:
        show_requests(invocation, *(plan_request(invocation, key.api_key_name) for key, _ in plan), plan=told)
        return Exit.OK
    if not plan:
        invocation.output.say("there is nothing to sweep")
    elif dry_run:
        invocation.output.emit(None, lambda: _render(plan))
    if dry_run:
        return Exit.OK
    if not plan:
        return report_deletions(invocation, Deletions(), plan=told)
    if not yes:
        invocation.output.show(_render(plan))
        if not invocation.output.confirm(f"Delete {'this key' if len(plan) == 1 else f'these {len(plan)} keys'}?"):
            invocation.output.say("nothing was deleted")
            return Exit.INTERRUPTED
    return report_deletions(invocation, invocation.run(_sweep(invocation, rule, plan)), plan=told)


async def _plan(invocation: Invocation, rule: Rule) -> list[tuple[KeyInfo, str]]:
    async with open_client(invocation) as client:
        with invocation.output.spinner("Listing"):
            keys = await client.list_keys()
    return list(_chosen(keys, rule, invocation.now))


def _chosen(keys: Iterable[KeyInfo], rule: Rule, now: float) -> Iterable[tuple[KeyInfo, str]]:
    return ((key, why) for key in keys if (why := rule.why(key, now)) is not None)


async def _sweep(invocation: Invocation, rule: Rule, plan: list[tuple[KeyInfo, str]]) -> Deletions:
    planned = {(key.api_key_name, key.created_time_raw) for key, _ in plan}
    async with open_client(invocation) as client:
        # While somebody thought about it, a name may have gone to another key, or a key have been made to live longer.
        now = _chosen(await client.list_keys(), rule, invocation.now)
        names = [key.api_key_name for key, _ in now if (key.api_key_name, key.created_time_raw) in planned]
        return await delete_each(invocation, client, names)


def _tell(key: KeyInfo, why: str) -> dict[str, Any]:
    return {
        "api_key_name": key.api_key_name,
        "reason": "expired" if why.startswith("expired") else "old",
        "created_time": to_json(key.created_time),
        "valid_until": to_json(key.valid_until),
    }


def _render(plan: list[tuple[KeyInfo, str]]) -> Table:
    table = make_table("NAME", "WHY")
    for key, why in plan:
        table.add_row(Text(shown(key.api_key_name)), Text(why))
    return table
