"""`sweep`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Literal

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


@attrs.frozen
class _Planned:
    """A key to delete."""

    key: KeyInfo
    reason: Literal["expired", "old"]

    def tell(self, now: float) -> str:
        """Return why, in words."""
        verb, moment = (
            ("expired", self.key.valid_until) if self.reason == "expired" else ("made", self.key.created_time)
        )
        return verb if moment is None else f"{verb} {relative(moment, now)}"


@attrs.frozen
class _Rule:
    """Which keys to delete: those that have expired, and old ones whose names begin so.

    Attributes:
        prefix: What the names begin with; `None` for expired keys alone.
        older_than: How old those are, at least.
    """

    prefix: str | None
    older_than: timedelta | None

    def choose(self, keys: Iterable[KeyInfo], now: float) -> list[_Planned]:
        """Return those of these keys that are to be deleted."""
        expired = [_Planned(key, "expired") for key in keys if is_expired(key, now)]
        return expired + [_Planned(key, "old") for key in keys if self._is_old(key, now) and not is_expired(key, now)]

    def _is_old(self, key: KeyInfo, now: float) -> bool:
        if self.prefix is None or self.older_than is None or not key.api_key_name.startswith(self.prefix):
            return False
        # Of a key whose age is not known, nothing is guessed.
        return key.created_time is not None and now - key.created_time.timestamp() > self.older_than.total_seconds()


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
    if not dry_run:
        invocation.output.check_can_ask(yes=yes)
    rule = _Rule(prefix, older_than)
    plan = invocation.run(_plan(invocation, rule))
    told = [_describe(planned) for planned in plan]
    if not plan:
        invocation.output.say("there is nothing to sweep")
    if dry_run and invocation.as_json:
        show_requests(invocation, *(plan_request(invocation, planned.key.api_key_name) for planned in plan), plan=told)
    elif dry_run and plan:
        invocation.output.emit(told, lambda: _render(plan, invocation.now))
    if dry_run:
        return Exit.OK
    if plan and not yes:
        invocation.output.show(_render(plan, invocation.now))
        if not invocation.output.confirm(f"Delete {'this key' if len(plan) == 1 else f'these {len(plan)} keys'}?"):
            invocation.output.say("nothing was deleted")
            return Exit.INTERRUPTED
    came = invocation.run(_sweep(invocation, rule, plan)) if plan else Deletions()
    return report_deletions(invocation, came, plan=told)


async def _plan(invocation: Invocation, rule: _Rule) -> list[_Planned]:
    async with open_client(invocation) as client:
        with invocation.output.spinner("Listing"):
            return rule.choose(await client.list_keys(), invocation.now)


async def _sweep(invocation: Invocation, rule: _Rule, plan: list[_Planned]) -> Deletions:
    known = {(planned.key.api_key_name, planned.key.created_time_raw) for planned in plan}
    async with open_client(invocation) as client:
        # While somebody thought about it, a name may have gone to another key, or a key have been made to live longer.
        now = [planned.key for planned in rule.choose(await client.list_keys(), invocation.now)]
        names = [key.api_key_name for key in now if (key.api_key_name, key.created_time_raw) in known]
        return await delete_each(invocation, client, names)


def _describe(planned: _Planned) -> dict[str, Any]:
    return {
        "api_key_name": planned.key.api_key_name,
        "reason": planned.reason,
        "created_time": to_json(planned.key.created_time),
        "valid_until": to_json(planned.key.valid_until),
    }


def _render(plan: list[_Planned], now: float) -> Table:
    table = make_table("NAME", "WHY")
    for planned in plan:
        table.add_row(Text(shown(planned.key.api_key_name)), Text(planned.tell(now)))
    return table
