import yaml

from floxbridge_demo.pod import PodSpec


def test_the_yaml_says_what_is_run() -> None:
    spec = PodSpec("echoip", "flox/empty:1.0.0", {"flox.dev/environment": 'a/b:1 # "c"'}, ("echoip", "--all"))
    assert yaml.safe_load(spec.to_yaml()) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "echoip", "annotations": {"flox.dev/environment": 'a/b:1 # "c"'}},
        "spec": {
            "runtimeClassName": "flox",
            "containers": [
                {
                    "name": "echoip",
                    "image": "flox/empty:1.0.0",
                    "imagePullPolicy": "Always",
                    "command": ["echoip", "--all"],
                }
            ],
        },
    }


def test_what_is_not_asked_for_is_not_there() -> None:
    pod = yaml.safe_load(PodSpec("echoip", "flox/empty/limeytexan/echoip:live").to_yaml())
    assert "annotations" not in pod["metadata"]
    assert "command" not in pod["spec"]["containers"][0]
