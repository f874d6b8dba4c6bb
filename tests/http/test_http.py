import sys
from importlib import import_module

import pytest

import mbuf.http


def test_the_package_has_the_main_names() -> None:
    assert all(hasattr(mbuf.http, name) for name in mbuf.http.__all__)


def test_without_h11_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name == "mbuf.http" or name.startswith("mbuf.http."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "h11", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"^mbuf\.http needs the package h11: pip install mbuf\[http\]$"
    ) as caught:
        import_module("mbuf.http")
    assert caught.value.name == "h11"
