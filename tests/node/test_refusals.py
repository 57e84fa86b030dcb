"""What the agent says reaches the user: its sentence is the message of the CRI's error, and so of the pod's event."""

import pytest

from floxbridge_demo.cri import CriFailed
from floxbridge_demo.pod import PodSpec
from tests.echoip import ENVIRONMENT
from tests.node.conftest import Node

EMPTY = "flox/empty:1.0.0"


@pytest.mark.parametrize(
    ("image", "annotations", "sentence"),
    [
        pytest.param(EMPTY, {"flox.dev/environment": "no slash"}, "no slash", id="bad-annotation"),
        pytest.param(EMPTY, {"flox.dev/environment": "nobody/nothing"}, "nobody/nothing", id="unknown-environment"),
        pytest.param(EMPTY, {"flox.dev/environment": f"{ENVIRONMENT}:99"}, "99", id="unknown-generation"),
        pytest.param(EMPTY, {}, "names no Flox environment", id="no-environment"),
        pytest.param(
            f"flox/empty/{ENVIRONMENT}:live",
            {"flox.dev/environment": "limeytexan/other"},
            "limeytexan/other and the image is limeytexan/echoip",
            id="two-environments",
        ),
        pytest.param(
            EMPTY,
            {"flox.dev/environment": ENVIRONMENT, "flox.dev/activate-mode": "build"},
            "want run or dev, got 'build'",
            id="no-mode",
        ),
        pytest.param(
            EMPTY,
            {"flox.dev/environment": ENVIRONMENT, "flox.dev/nix-mutable": "yes"},
            """want "true" or "false", got 'yes'""",
            id="no-boolean",
        ),
        pytest.param(
            EMPTY,
            {"flox.dev/environment": ENVIRONMENT, "flox.dev/disable-metrics": ""},
            """want "true" or "false", got ''""",
            id="empty-boolean",
        ),
    ],
)
def test_the_sentence_reaches_the_user(node: Node, image: str, annotations: dict[str, str], sentence: str) -> None:
    spec = PodSpec("refused", image, annotations, ("echoip",))
    with (
        node.pod(spec) as pod,
        pytest.raises(CriFailed, match=r"(Create|Start)Container: .*OCI runtime create failed") as refused,
    ):
        pod.turn()
    assert sentence in str(refused.value)
