"""What the account holds, and what that makes of the markets. Pure rules: no HTTP, no clock."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kraken_fastkey.sandbox._validation import Number

DEFAULT_BALANCES: Final[Mapping[str, str]] = MappingProxyType({"ZEUR": "1000.0000", "XXBT": "0.5000000000"})
# 1 January 2024, 00:00 UTC.
DEPOSITED_AT: Final = 1_704_067_200

_AMOUNT = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
# Kraken's older names of four letters: X for a coin, Z for a currency.
_OLD_NAME = re.compile(r"[XZ][A-Z]{3}")


class Funds:
    """The balances, each of which has been deposited at `DEPOSITED_AT`.

    Args:
        balances: Kraken's names of assets, and amounts with as many decimals as the asset has.

    Raises:
        ValueError: if a name is empty, or an amount is no string of digits.
    """

    def __init__(self, balances: Mapping[str, str]) -> None:
        self.balances = balances

    @property
    def balances(self) -> Mapping[str, str]:
        return self._balances

    @balances.setter
    def balances(self, balances: Mapping[str, str]) -> None:
        for asset, amount in balances.items():
            # Checked here, since 0.5 would be sent as a number, which Kraken never does.
            if not asset or not isinstance(amount, str) or not _AMOUNT.fullmatch(amount):
                raise ValueError(f"the balance of {asset!r} must be a string such as '0.5000000000'")
        self._balances = MappingProxyType(dict(balances))

    def plain(self) -> dict[str, object]:
        """Return what Balance answers."""
        return dict(self._balances)

    def extended(self) -> dict[str, object]:
        """Return what BalanceEx answers: no order holds anything."""
        return {
            asset: {"balance": amount, "hold_trade": f"{0:.{_decimals(amount)}f}"}
            for asset, amount in self._balances.items()
        }

    def ledger(self, query_from: Number, query_to: Number) -> dict[str, object]:
        """Return what Ledgers answers to a key that may see this span of time; 0 is no limit."""
        seen = query_from <= DEPOSITED_AT <= (query_to or DEPOSITED_AT)
        entries = {
            f"LSANDB-OXLED-{number:06}": {
                "refid": f"FSANDB-OXREF-{number:06}",
                "time": float(DEPOSITED_AT),
                "type": "deposit",
                "subtype": "",
                "aclass": "currency",
                "asset": asset,
                "amount": amount,
                "fee": f"{0:.{_decimals(amount)}f}",
                "balance": amount,
            }
            for number, (asset, amount) in enumerate(self._balances.items() if seen else (), start=1)
        }
        return {"count": len(entries), "ledger": entries}

    def assets(self) -> dict[str, object]:
        """Return what Assets answers: the assets that the account holds, and no others."""
        return {
            asset: {
                "aclass": "currency",
                "altname": _short(asset),
                "decimals": _decimals(amount),
                "display_decimals": min(_decimals(amount), 5),
                "status": "enabled",
            }
            for asset, amount in self._balances.items()
        }

    def pairs(self) -> dict[str, object]:
        """Return what AssetPairs answers: each coin that the account holds, for each currency that it holds."""
        currencies = [asset for asset in self._balances if _is_currency(asset)]
        coins = [asset for asset in self._balances if not _is_currency(asset)]
        return {base + quote: _pair(base, quote) for base in coins for quote in currencies}


def _decimals(amount: str) -> int:
    return len(amount.partition(".")[2])


def _short(asset: str) -> str:
    """Return the name that Kraken uses besides: XBT for XXBT, EUR for ZEUR."""
    return asset[1:] if _OLD_NAME.fullmatch(asset) else asset


def _is_currency(asset: str) -> bool:
    return asset.startswith("Z") and _OLD_NAME.fullmatch(asset) is not None


def _pair(base: str, quote: str) -> dict[str, object]:
    return {
        "altname": _short(base) + _short(quote),
        "wsname": f"{_short(base)}/{_short(quote)}",
        "aclass_base": "currency",
        "base": base,
        "aclass_quote": "currency",
        "quote": quote,
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": 1,
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.4]],
        "fees_maker": [[0, 0.25]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": "0.0001",
        "costmin": "0.5",
        "tick_size": "0.1",
        "status": "online",
    }
