"""A pytest plugin: how the tests are spread over several processes, with `pytest -n 3 --dist loadgroup`.

Tests that share what a fixture of their module made stay together, and so do those that import TensorFlow, which takes
seconds. All others go wherever there is room. What takes longest begins first, so that it is not left over at the end.
"""

import pytest

LONGEST = (
    "test_container",
    "tensorflow",
    "test_bundled_weights",
    "test_published_weights",
    "test_page",
    "test_hostile_images",
    "test_variants",
)
"""Groups of tests that take a minute or more, the longest first."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("loadgroup", default=False):
        return
    groups = {item: group(item) for item in items}
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(groups[item], len(places)))
    for item, name in groups.items():
        if name:
            item.add_marker(pytest.mark.xdist_group(name))


def group(item: pytest.Item) -> str:
    """Return the name of the group that a test is in, if it is in one."""
    if item.get_closest_marker("tensorflow") and not item.get_closest_marker("e2e"):
        return "tensorflow"
    fixtures = item._fixtureinfo.name2fixturedefs.values()  # type: ignore[attr-defined]
    shares = any(fixture.scope == "module" for (*_, fixture) in fixtures)
    return item.path.stem if shares else ""
