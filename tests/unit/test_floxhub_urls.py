import pytest

from flox_formats.environment import EnvironmentName
from flox_formats.settings import SettingsInvalid
from registry_proxy.floxhub.urls import FloxHubUrls


@pytest.mark.parametrize(
    ("base", "git"),
    [
        pytest.param("https://hub.flox.dev", "https://api.flox.dev/git", id="hosted"),
        pytest.param("https://hub.preview.flox.dev", "https://api.preview.flox.dev/git", id="hosted-preview"),
        pytest.param(
            "https://hub.flox.dev:8443/some/path", "https://api.flox.dev:8443/git", id="hosted-drops-the-path"
        ),
        pytest.param("https://flox.example.internal", "https://flox.example.internal/git", id="on-prem"),
        pytest.param("https://host.internal/floxhub/", "https://host.internal/floxhub/git", id="on-prem-below-a-path"),
        pytest.param("http://127.0.0.1:8080", "http://127.0.0.1:8080/git", id="loopback"),
        pytest.param("https://nothub.flox.dev", "https://nothub.flox.dev/git", id="first-label-is-not-hub"),
        pytest.param("https://hub.flox.example.com", "https://hub.flox.example.com/git", id="other-domain"),
    ],
)
def test_git_url_follows_from_the_base(base: str, git: str) -> None:
    assert FloxHubUrls.parse(base).git == git


def test_an_override_replaces_the_git_url_and_not_the_base() -> None:
    urls = FloxHubUrls.parse("https://hub.flox.dev/", "http://127.0.0.1:9/git/")
    assert urls == FloxHubUrls("https://hub.flox.dev", "http://127.0.0.1:9/git")


def test_places_of_an_environment() -> None:
    urls = FloxHubUrls.parse("https://hub.flox.dev")
    assert urls.repository("acme") == "https://api.flox.dev/git/acme/floxmeta"
    assert urls.page(EnvironmentName("acme", "web")) == "https://hub.flox.dev/acme/web"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("hub.flox.dev", id="no-scheme"),
        pytest.param("https://", id="no-host"),
        pytest.param("ssh://hub.flox.dev", id="not-http"),
        pytest.param("https://hub.flox.dev/?token=x", id="query"),
        pytest.param("http://127.0.0.1:33401git", id="port-that-is-none"),
        pytest.param("http://127.0.0.1:99999", id="port-too-large"),
        pytest.param("http://127.0.0.1:0", id="port-zero"),
    ],
)
def test_refuses(url: str) -> None:
    with pytest.raises(SettingsInvalid):
        FloxHubUrls.parse(url)


def test_never_repeats_a_password() -> None:
    with pytest.raises(SettingsInvalid) as refused:
        FloxHubUrls.parse("https://oauth:flox_pat_secret@hub.flox.dev")
    assert "secret" not in str(refused.value)
