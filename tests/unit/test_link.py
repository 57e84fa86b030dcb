"""What an environment links: the rules of FH §6.2, one table for each."""

from collections.abc import Mapping

import pytest

from flox_formats.outputs import SelectedOutput
from flox_formats.store_path import StorePath
from shim_hooks.environment.link import Symlink, plan_links
from shim_hooks.environment.mode import Mode
from shim_hooks.errors import ContentRejected, LinkConflict
from tests.unit.memory_tree import Link, MemoryTree, Node

DIR = "(directory)"


def path_of(name: str) -> StorePath:
    return StorePath("0" * 32, name)


def at(name: str, path: str = "") -> str:
    return f"{path_of(name)}/{path}".rstrip("/")


def output(name: str, *, priority: int = 5, of: str | None = None, output_name: str | None = "out") -> SelectedOutput:
    """Output `name` of install id `of`; without it the two are called the same."""
    return SelectedOutput(of or name, output_name, path_of(name), priority)


def planned(packages: Mapping[str, Node], *outputs: SelectedOutput | str, mode: Mode = Mode.RUN) -> dict[str, str]:
    """Path to target; a text among `outputs` is an output of that name at priority 5."""
    tree = MemoryTree({path_of(name).base_name: node for name, node in packages.items()})
    chosen = [each if isinstance(each, SelectedOutput) else output(each) for each in outputs]
    plan = plan_links(chosen, tree, mode)
    return {entry.path: entry.target if isinstance(entry, Symlink) else DIR for entry in plan.entries}


A_BIN: Mapping[str, Node] = {"bin": {"a": ""}}
B_BIN: Mapping[str, Node] = {"bin": {"b": ""}}


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"a": {}}, {}, id="empty-package"),
        pytest.param({"a": A_BIN}, {"bin": at("a", "bin")}, id="one-provider-is-one-link"),
        pytest.param(
            {"a": A_BIN, "b": B_BIN},
            {"bin": DIR, "bin/a": at("a", "bin/a"), "bin/b": at("b", "bin/b")},
            id="two-providers-merge",
        ),
        pytest.param(
            {"a": {"s": {"d": {"x": ""}}}, "b": {"s": {"d": {"y": ""}, "e": {}}}},
            {
                "s": DIR,
                "s/d": DIR,
                "s/d/x": at("a", "s/d/x"),
                "s/d/y": at("b", "s/d/y"),
                "s/e": at("b", "s/e"),
            },
            id="merging-goes-down-as-far-as-both-do",
        ),
        pytest.param(
            {"a": A_BIN, "b": B_BIN, "c": {"bin": {"c": ""}}},
            {"bin": DIR, "bin/a": at("a", "bin/a"), "bin/b": at("b", "bin/b"), "bin/c": at("c", "bin/c")},
            id="third-joins",
        ),
        pytest.param({"a": {"f": Link("nothing")}}, {"f": at("a", "f")}, id="dangling-link-is-linked"),
        pytest.param({"a": {"bin": {}}, "b": {"bin": {}}}, {"bin": DIR}, id="two-empty-directories"),
    ],
)
def test_merges(packages: Mapping[str, Node], expected: Mapping[str, str]) -> None:
    assert planned(packages, *packages) == expected


@pytest.mark.parametrize(
    ("tree", "kept"),
    [
        pytest.param({"nix-support": {"x": ""}}, [], id="nix-support"),
        pytest.param({"propagated-build-inputs": ""}, [], id="propagated-build-inputs"),
        pytest.param({"log": ""}, [], id="log-at-the-top"),
        pytest.param({"s": {"log": {"x": ""}}}, [], id="log-anywhere"),
        pytest.param({"s": {"perllocal.pod": ""}}, [], id="perllocal.pod"),
        pytest.param({"s": {"info": {"dir": ""}}}, [], id="info/dir"),
        pytest.param(
            {"share": {"mime": {"cache": "", "packages": {"p": ""}}}}, ["share/mime/packages"], id="share/mime"
        ),
        pytest.param({"s": {"nix-support": {"x": ""}}}, ["s/nix-support"], id="nix-support-elsewhere-stays"),
        pytest.param({"s": {"mime": {"cache": ""}}}, ["s/mime"], id="mime-elsewhere-stays"),
        pytest.param({"s": {"log.txt": ""}}, ["s/log.txt"], id="log-is-the-whole-name"),
    ],
)
def test_leaves_out_where_it_merges(tree: Mapping[str, Node], kept: list[str]) -> None:
    frame: Mapping[str, Node] = {"s": {"info": {}}, "share": {"mime": {}}}
    found = planned({"a": tree, "b": frame}, "a", "b")
    assert [path for path, target in found.items() if target.startswith(at("a"))] == kept


def test_left_out_files_stay_behind_a_single_link() -> None:
    packages: Mapping[str, Node] = {"a": {"share": {"log": "", "info": {"dir": ""}}}}
    assert planned(packages, "a") == {"share": at("a", "share")}


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        pytest.param(4, 5, "a", id="first-is-better"),
        pytest.param(5, 4, "b", id="second-is-better"),
        pytest.param(0, 1, "a", id="zero-is-best"),
        pytest.param(5, 5001, "a", id="version-1-output-nobody-asked-for"),
    ],
)
def test_lower_priority_wins_file_by_file(first: int, second: int, winner: str) -> None:
    packages: Mapping[str, Node] = {"a": {"bin": {"x": "", "a": ""}}, "b": {"bin": {"x": "", "b": ""}}}
    assert planned(packages, output("a", priority=first), output("b", priority=second)) == {
        "bin": DIR,
        "bin/a": at("a", "bin/a"),
        "bin/b": at("b", "bin/b"),
        "bin/x": at(winner, "bin/x"),
    }


FILE: Mapping[str, Node] = {"x": ""}
DIRECTORY: Mapping[str, Node] = {"x": {"inside": ""}}


@pytest.mark.parametrize(
    ("first", "second", "priorities", "winner"),
    [
        pytest.param(FILE, DIRECTORY, (5, 4), "b", id="better-directory-replaces-file"),
        pytest.param(FILE, DIRECTORY, (4, 5), "a", id="worse-directory-is-skipped"),
        pytest.param(FILE, DIRECTORY, (5, 5), None, id="equal-directory-conflicts"),
        pytest.param(DIRECTORY, FILE, (5, 4), None, id="better-file-after-directory-conflicts"),
        pytest.param(DIRECTORY, FILE, (4, 5), None, id="worse-file-after-directory-conflicts"),
        pytest.param(DIRECTORY, FILE, (5, 5), None, id="equal-file-after-directory-conflicts"),
    ],
)
def test_directory_against_file(
    first: Mapping[str, Node], second: Mapping[str, Node], priorities: tuple[int, int], winner: str | None
) -> None:
    outputs = [output(name, priority=priority) for name, priority in zip("ab", priorities, strict=True)]
    if winner is None:
        with pytest.raises(LinkConflict, match=r"'a' conflicts with 'b'\. Both packages provide the file 'x'"):
            planned({"a": first, "b": second}, *outputs)
    else:
        assert planned({"a": first, "b": second}, *outputs) == {"x": at(winner, "x")}


def test_file_after_merged_directory_says_which_is_which() -> None:
    with pytest.raises(LinkConflict) as raised:
        planned({"a": DIRECTORY, "b": {"x": {"other": ""}}, "c": FILE}, "a", "b", output("c", priority=0))
    assert str(raised.value) == (
        "'a' conflicts with 'c'. They provide a directory and a file 'x'\n\n"
        "Resolve by uninstalling one of the conflicting packages"
    )


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        pytest.param(
            [output("pa", of="a"), output("pb", of="b")],
            "'a' conflicts with 'b'. Both packages provide the file 'bin/x'\n\n"
            "Resolve by uninstalling one of the conflicting packages or setting the priority of the preferred package "
            "to a value lower than '5'",
            id="two-packages",
        ),
        pytest.param(
            [output("pa", of="a", priority=1), output("pb", of="b", priority=1)],
            "'a' conflicts with 'b'. Both packages provide the file 'bin/x'\n\n"
            "Resolve by uninstalling one of the conflicting packages or setting the priority of the preferred package "
            "to a value lower than '1'",
            id="names-the-priority",
        ),
        pytest.param(
            [output("pa", of="a", output_name="dev"), output("pb", of="a", output_name="out")],
            "'a^dev' conflicts with 'a^out'. Both outputs of the same package provide the file 'bin/x'\n\n"
            "Resolve by uninstalling one of the conflicting outputs from 'a'",
            id="two-outputs-of-one-package",
        ),
        pytest.param(
            [output("pa", of="a"), output("pa", of="later"), output("pb", of="b", output_name=None)],
            "'a' conflicts with 'b'. Both packages provide the file 'bin/x'\n\n"
            "Resolve by uninstalling one of the conflicting packages or setting the priority of the preferred package "
            "to a value lower than '5'",
            id="the-first-install-id-names-a-store-path",
        ),
    ],
)
def test_conflicts_in_floxs_words(outputs: list[SelectedOutput], message: str) -> None:
    packages: Mapping[str, Node] = {"pa": {"bin": {"x": "same"}}, "pb": {"bin": {"x": "same"}}}
    with pytest.raises(LinkConflict) as raised:
        planned(packages, *outputs)
    assert str(raised.value) == message


def test_of_several_conflicts_the_first_by_path_is_told() -> None:
    packages: Mapping[str, Node] = {"a": {"d": {"x": ""}, "e": ""}, "b": {"d": {"x": ""}, "e": ""}}
    with pytest.raises(LinkConflict, match="the file 'd/x'"):
        planned(packages, "a", "b")


def test_the_same_store_path_twice_counts_once_with_the_first_priority() -> None:
    packages: Mapping[str, Node] = {"a": FILE, "b": FILE}
    outputs = [output("a", of="one", priority=6), output("b", priority=5), output("a", of="two", priority=1)]
    assert planned(packages, *outputs) == {"x": at("b", "x")}


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        pytest.param(
            {"a": {"x": Link("/nix/store/00000000000000000000000000000000-b/x")}, "b": {"x": ""}},
            {"x": at("b", "x")},
            id="file-is-preferred-to-a-link-to-it",
        ),
        pytest.param(
            {"b": {"x": ""}, "c": {"x": Link("../00000000000000000000000000000000-b/x")}},
            {"x": at("b", "x")},
            id="the-file-stays-when-it-was-first",
        ),
        pytest.param(
            {"a": {"x": Link("/nix/store/00000000000000000000000000000000-b/x")}, "b": {"x": {"inside": ""}}},
            {"x": at("b", "x")},
            id="directory-is-preferred-to-a-link-to-it",
        ),
        pytest.param(
            {"a": {"x": Link("/etc/hosts")}, "b": {"x": Link("/etc/hosts")}},
            {"x": at("a", "x")},
            id="the-same-place-outside-the-store",
        ),
    ],
)
def test_the_same_real_target_never_conflicts(packages: Mapping[str, Node], expected: Mapping[str, str]) -> None:
    assert planned(packages, *packages) == expected


def test_linked_directory_merges_and_keeps_its_spelling() -> None:
    packages: Mapping[str, Node] = {
        "a": {"lib": Link("lib64"), "lib64": {"a": ""}},
        "b": {"lib": {"b": ""}},
    }
    assert planned(packages, "a", "b") == {
        "lib": DIR,
        "lib/a": at("a", "lib/a"),
        "lib/b": at("b", "lib/b"),
        "lib64": at("a", "lib64"),
    }


@pytest.mark.parametrize(
    "target",
    [pytest.param("/usr/lib", id="absolute"), pytest.param("../..", id="store-and-up"), pytest.param("..", id="store")],
)
def test_a_link_out_of_the_store_is_no_directory(target: str) -> None:
    with pytest.raises(LinkConflict):
        planned({"a": {"lib": Link(target)}, "b": {"lib": {"b": ""}}}, "a", "b")


def test_linked_directories_that_go_round_end() -> None:
    packages: Mapping[str, Node] = {"a": {"d": {"x": Link(".")}}, "b": {"d": {"x": Link(".")}}}
    with pytest.raises(LinkConflict, match="the file 'd/x/x/"):
        planned(packages, "a", "b")


def test_more_files_than_any_environment_has() -> None:
    tree = MemoryTree({path_of(name).base_name: {"d": {"x": Link("."), "y": Link(".")}} for name in ("a", "b")})
    with pytest.raises(ContentRejected, match="more than 1000 files"):
        plan_links([output("a", priority=4), output("b", priority=5)], tree, Mode.RUN, max_entries=1000)


def test_store_path_that_is_a_file() -> None:
    with pytest.raises(LinkConflict, match=r"0-a is a file, and only a directory can be linked .* Remove 'hello'"):
        planned({"a": "contents"}, output("a", of="hello"))


@pytest.mark.parametrize("node", [pytest.param(None, id="missing"), pytest.param(Link("nothing"), id="dangling")])
def test_selected_output_that_is_not_there(node: Node | None) -> None:
    with pytest.raises(ContentRejected, match="0-a is to be linked"):
        planned({} if node is None else {"a": node}, "a")


def propagating(*names: str, by: str = "propagated-user-env-packages", more: str = "\n") -> Mapping[str, Node]:
    return {"nix-support": {by: " ".join(str(path_of(name)) for name in names) + more}}


@pytest.mark.parametrize(
    ("packages", "mode", "expected"),
    [
        pytest.param(
            {"a": propagating("p"), "p": {"bin": {}}}, Mode.RUN, {"bin": at("p", "bin")}, id="user-env-packages-in-run"
        ),
        pytest.param(
            {"a": propagating("p"), "p": {"bin": {}}}, Mode.DEV, {"bin": at("p", "bin")}, id="user-env-packages-in-dev"
        ),
        pytest.param(
            {"a": propagating("p", by="propagated-build-inputs"), "p": {"bin": {}}},
            Mode.RUN,
            {},
            id="build-inputs-not-in-run",
        ),
        pytest.param(
            {"a": propagating("p", by="propagated-build-inputs"), "p": {"bin": {}}},
            Mode.DEV,
            {"bin": at("p", "bin")},
            id="build-inputs-in-dev",
        ),
        pytest.param(
            {"a": propagating("p-stubs", by="propagated-build-inputs"), "p-stubs": {"bin": {}}},
            Mode.DEV,
            {},
            id="no-stubs",
        ),
        pytest.param(
            {"a": propagating("p"), "p": propagating("q"), "q": {"bin": {}}},
            Mode.RUN,
            {"bin": at("q", "bin")},
            id="transitive",
        ),
        pytest.param(
            {"a": propagating("p"), "p": {**propagating("a"), "x": ""}}, Mode.RUN, {"x": at("p", "x")}, id="in-a-ring"
        ),
        pytest.param({"a": propagating(more="\n/nix/store/second-line")}, Mode.RUN, {}, id="only-the-first-line"),
        pytest.param({"a": propagating(more="")}, Mode.RUN, {}, id="empty-file"),
        pytest.param(
            {"a": {"nix-support": {"propagated-user-env-packages": {}}}}, Mode.RUN, {}, id="a-directory-of-that-name"
        ),
    ],
)
def test_propagates(packages: Mapping[str, Node], mode: Mode, expected: Mapping[str, str]) -> None:
    assert planned(packages, "a", mode=mode) == expected


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        pytest.param(
            {"a": {**propagating("p"), "x": ""}, "p": {"x": ""}}, {"x": at("a", "x")}, id="the-chosen-package-wins"
        ),
        pytest.param(
            {"a": propagating("q-2", "q-1"), "q-1": {"x": ""}, "q-2": {"x": ""}}, {"x": at("q-1", "x")}, id="by-name"
        ),
        pytest.param(
            {"a": propagating("p", "q"), "p": {"x": {"p": ""}}, "q": {"x": ""}},
            {"x": at("p", "x")},
            id="file-after-directory",
        ),
    ],
)
def test_propagated_packages_do_not_conflict(packages: Mapping[str, Node], expected: Mapping[str, str]) -> None:
    assert planned(packages, *sorted(packages.keys() & {"a", "b"})) == expected


def test_a_propagated_file_for_a_merged_directory() -> None:
    """The one conflict that they can have: Flox's builder dies, whatever the priorities ("not a directory")."""
    packages: Mapping[str, Node] = {
        "a": {**propagating("p"), "x": {"a": ""}},
        "b": {"x": {"b": ""}},
        "p": {"x": ""},
    }
    with pytest.raises(LinkConflict, match=r"'a' conflicts with 'p'\. They provide a directory and a file 'x'"):
        planned(packages, "a", "b")


def test_a_propagated_package_stands_with_who_propagates_it() -> None:
    packages: Mapping[str, Node] = {"a": propagating("p"), "b": propagating("o"), "o": {"x": ""}, "p": {"x": ""}}
    assert planned(packages, output("a", priority=4), output("b", priority=5)) == {"x": at("p", "x")}


def test_priority_zero_lifts_what_it_propagates() -> None:
    """Flox multiplies the priority, and zero stays zero (FH §6.1)."""
    packages: Mapping[str, Node] = {"a": propagating("p"), "b": {"x": ""}, "p": {"x": ""}}
    assert planned(packages, output("a", priority=0), output("b", priority=5)) == {"x": at("p", "x")}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("/nix/store/nonsense", "want a store path", id="no-store-path"),
        pytest.param("../../etc", "want a store path", id="escape"),
        pytest.param(str(path_of("p")), "0-p is to be linked into the environment, and is not in", id="not-there"),
    ],
)
def test_propagates_nonsense(line: str, message: str) -> None:
    with pytest.raises(ContentRejected, match=message):
        planned({"a": {"nix-support": {"propagated-user-env-packages": line}}}, "a")


def test_directories_come_before_what_is_in_them() -> None:
    packages: Mapping[str, Node] = {name: {"s": {"d": {name: ""}}} for name in ("a", "b")}
    assert list(planned(packages, "a", "b")) == ["s", "s/d", "s/d/a", "s/d/b"]


def test_tells_what_was_linked() -> None:
    tree = MemoryTree({path_of("a").base_name: propagating("p"), path_of("p").base_name: {}})
    assert plan_links([output("a")], tree, Mode.RUN).linked == (path_of("a"), path_of("p"))
