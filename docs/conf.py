"""How Sphinx builds these pages: `sphinx-build -W -n -b html docs docs/_build/html`."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import attrs
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.pycode import ModuleAnalyzer

import kraken_fastkey
import kraken_fastkey.otel
import kraken_fastkey.sandbox
import kraken_fastkey.stores
import kraken_fastkey.testing
from kraken_fastkey.sandbox._clients import LOOPBACK_URIS
from kraken_fastkey.stores._locks import LOCK_TIMEOUT

project = "kraken-fastkey"
author = "The kraken-fastkey maintainers"
copyright = author  # noqa: A001  # Sphinx calls it so
version = release = kraken_fastkey.__version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "diagrams"]
exclude_patterns = ["_build", "_ext", "_extra", "_static"]
nitpicky = True
# Names of other packages have no page here to link to.
_ELSEWHERE = (
    r"(aiohttp|redis|sqlalchemy|collections\.abc|contextlib|datetime|ipaddress|opentelemetry|os|pathlib|types)\..*|Redis"
    r"|.*\._adapters\._\w+"
)
nitpick_ignore_regex = [(r"py:.*", _ELSEWHERE)]

html_theme = "furo"
# Copied as it is: the short address of errors, which their texts end with.
html_extra_path = ["_extra"]
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["diagrams.css", "site.css"]
# Without the commit, for which a phone has no room.
html_title = f"kraken-fastkey {release.partition('+')[0]}"
myst_heading_anchors = 3

# In a docstring, `name` is code, and a link if there is something to link to.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

_MODULES = (kraken_fastkey, kraken_fastkey.stores, kraken_fastkey.sandbox, kraken_fastkey.testing, kraken_fastkey.otel)
_PUBLIC = {name: f"{module.__name__}.{name}" for module in _MODULES for name in module.__all__}


def _resolve(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Link a name to its public place, wherever it is defined; what a docstring marks as code may lead nowhere."""
    if node.get("refdomain") != "py":
        return None
    public = _PUBLIC.get(node["reftarget"].rpartition(".")[2])
    if public not in {None, node["reftarget"]}:
        domain = env.get_domain("py")
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", public, node, content)
    return content if node["reftype"] == "obj" else None


def _tidy_signature(
    _app: Any, _what: str, _name: str, obj: Any, _options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Show defaults as a user would write them, and no private parameter."""
    if signature is None:
        return signature, returns
    signature = re.sub(r"(, \*)?, _\w+: .*\)$", ")", signature)
    signature = signature.replace("_DEFAULT_RETRY", "RetryPolicy()").replace("_DEFAULT_TIMEOUTS", "Timeouts()")
    signature = signature.replace("FrozenDict()", "{}").replace("LOCK_TIMEOUT", f"{LOCK_TIMEOUT:g}")
    signature = signature.replace("LOOPBACK_URIS", repr(LOOPBACK_URIS))
    if attrs.has(obj):
        signature = re.sub(r"attr_dict\['(\w+)'\]\.default", lambda found: _default(obj, found[1]), signature)
        signature = signature.replace("= NOTHING", "= ...")
    return signature, returns


def _default(cls: type, field: str) -> str:
    value = getattr(attrs.fields(cls), field).default
    return "..." if callable(value) else repr(value)


def _tidy_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Read a property's docstring like a method's, and a constant's where it is defined."""
    if isinstance(obj, property):
        # napoleon would take what stands before a colon in the first line for a type.
        text = (inspect.getdoc(obj) or "").splitlines()
        lines[:] = [*GoogleDocstring(text, app.config, app, "method", name, obj, options).lines(), ""]
    elif what == "data":
        lines[:] = _constant_docstring(name.rpartition(".")[2])


def _constant_docstring(name: str) -> list[str]:
    for module in [module for module in sys.modules if module.startswith("kraken_fastkey.")]:
        found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name))
        if found:
            return found
    return []


def setup(app: Any) -> None:
    """Tell Sphinx how to read docstrings, and where names lead."""
    app.connect("missing-reference", _resolve)
    app.connect("autodoc-process-signature", _tidy_signature)
    app.connect("autodoc-process-docstring", _tidy_docstring, priority=900)  # after napoleon
