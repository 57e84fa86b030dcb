"""The doctor on a node where everything is real: nothing is bad, whichever containerd it has."""

import json
import subprocess
import sys

from tests.node.conftest import Node


def test_a_real_node_is_well(node: Node) -> None:
    binaries = node.containerd.binaries.folder
    command = [sys.executable, "-m", "shim_hooks.cli", "doctor", "--json", "--registry-url", node.echoip.registry.url]
    command += ["--socket", str(node.agent.socket), "--state-dir", str(node.agent.state)]
    command += ["--containerd-config", str(node.containerd.places.config)]
    environment = node.workplace.environment
    environment["PATH"] = f"{binaries}:{environment['PATH']}"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    found = {it["subject"]: (it["verdict"], it["says"]) for it in json.loads(done.stdout)["findings"]}
    del found["disk"]  # is the machine's own
    assert {verdict for verdict, _ in found.values()} == {"good"}, found
    assert done.returncode == 0
    assert found["containerd"][1].endswith(f"has the handler flox, which runs {node.launcher}")
    assert found["mirror"][1].startswith(f"a pull of flox/empty:1.0.0 on this node reaches {node.echoip.registry.url}")
    assert "runc 1." in found["runtime"][1]
