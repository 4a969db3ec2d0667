"""Find or fetch the files of a checkpoint: the embedded demo, a local folder, or the Hugging Face Hub."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from csm.errors import ModelUnavailable
from csm.settings import Settings

T = TypeVar("T")

DEMO_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "demo"

# Files that could contain code are never fetched: neither pickles (`ckpt.pt`) nor Python files.
CONFIGURATION, WEIGHTS = ["*.json", "*.jinja"], "*.safetensors"


ORIGINAL_LAYOUT = (
    "this checkpoint is in the layout of Sesame's own code (torchtune), which is not read: "
    "set CSM_MODEL=sesame/csm-1b, or unsloth/csm-1b, which needs no token; both have the layout of transformers"
)


def check(settings: Settings) -> None:
    """Check, within seconds and before anything slow starts, that the checkpoint is here or can be fetched.

    Raises:
        ModelUnavailable: it is not; the message names the remedy.
    """
    folder = local_folder(settings)
    if folder is None:
        _explained(settings, lambda: _configuration(settings.model, settings.revision))


def fetch(settings: Settings) -> Path:
    """Return the folder of the checkpoint; download it first if needed (several GB, with progress bars).

    Raises:
        ModelUnavailable: it cannot be fetched; the message names the remedy.
    """
    folder = local_folder(settings)
    if folder is not None:
        return folder
    return Path(_explained(settings, lambda: snapshot_download(**_selection(settings))))


def fetch_file(settings: Settings, name: str) -> Path:
    """Return another file of the repository; download it first if needed.

    Raises:
        ModelUnavailable: it cannot be fetched; the message names the remedy.
    """
    return Path(_explained(settings, lambda: hf_hub_download(settings.model, name, revision=settings.revision)))


def missing_bytes(settings: Settings) -> int:
    """Return how many bytes `fetch` would download.

    Raises:
        ModelUnavailable: the Hub cannot be asked; the message names the remedy.
    """
    if local_folder(settings) is not None:
        return 0
    files = _explained(settings, lambda: snapshot_download(**_selection(settings), dry_run=True))
    return sum(file.file_size or 0 for file in files if file.will_download)


def _selection(settings: Settings) -> dict[str, Any]:
    """Return the arguments of `snapshot_download`, which select the files that are needed."""
    config = _configuration(settings.model, settings.revision)
    # CSM-1B's repository also contains the weights in their original layout, which would double the download.
    named = config.get("transformers_weights")
    weights = f"{named.partition('.')[0]}{WEIGHTS}" if named else WEIGHTS
    return {
        "repo_id": settings.model,
        "revision": settings.revision,
        "allow_patterns": [*CONFIGURATION, weights],
        # Reference recordings, which the model does not need.
        "ignore_patterns": ["prompts/*", "transformers/prompts/*"],
    }


def refuse_original_layout(config: Mapping[str, Any]) -> None:
    """Refuse a configuration of Sesame's own code.

    One of `transformers` may contain the same fields, but it also has a `model_type`.

    Raises:
        ModelUnavailable: the checkpoint is in the original layout.
    """
    if "model_type" not in config and "backbone_flavor" in json.dumps(config):
        raise ModelUnavailable(ORIGINAL_LAYOUT)


def _configuration(name: str, revision: str | None) -> dict[str, Any]:
    """Fetch the configuration of a repository.

    Raises:
        ModelUnavailable: it is not JSON, or in the original layout. Errors of `huggingface_hub` are raised as they are.
    """
    path = Path(hf_hub_download(name, "config.json", revision=revision))
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except ValueError:
        raise ModelUnavailable(f"{name} holds no checkpoint for transformers (config.json is not JSON)") from None
    refuse_original_layout(config)
    return config


def local_folder(settings: Settings) -> Path | None:
    """Return the folder that `CSM_MODEL` names, or None if it names a repository.

    Raises:
        ModelUnavailable: it is a path, but there is no checkpoint.
    """
    folder = DEMO_FOLDER if settings.is_demo else Path(settings.model).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if settings.is_demo or folder.is_dir() or settings.model.startswith(("/", ".", "~")) or "\\" in settings.model:
        raise ModelUnavailable(f"CSM_MODEL={settings.model}: no checkpoint there (config.json is missing)")
    return None


def _explained(settings: Settings, download: Callable[[], T]) -> T:
    """Call `download`; turn its errors into `ModelUnavailable` with a remedy."""
    name = settings.model
    try:
        return download()
    except GatedRepoError:
        raise ModelUnavailable(
            f"{name} is gated: accept its terms at https://huggingface.co/{name}, create a token at "
            "https://huggingface.co/settings/tokens and set HF_TOKEN; or, with neither, set "
            "CSM_MODEL=unsloth/csm-1b, a copy of CSM-1B, or CSM_MODEL=demo"
        ) from None
    except RevisionNotFoundError:
        raise ModelUnavailable(f"{name} has no revision {settings.revision}: correct CSM_REVISION") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ModelUnavailable(
            f"CSM_MODEL={name} is neither a folder here nor a repository that this token may read: "
            "check the spelling and HF_TOKEN, or try CSM_MODEL=demo"
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ModelUnavailable(_unreachable(name, error)) from None
    except EntryNotFoundError:
        raise ModelUnavailable(f"{name} holds no checkpoint for transformers (config.json is missing)") from None
    except HfHubHTTPError as error:
        raise ModelUnavailable(_refused(name, error)) from None
    except OSError as error:
        raise ModelUnavailable(f"{name} cannot be fetched: {type(error).__name__}; check network and disk") from None


def _unreachable(name: str, error: Exception) -> str:
    """Explain an error that `huggingface_hub` raises for all causes without their own class, such as a wrong token."""
    if isinstance(error.__cause__, HfHubHTTPError):
        return _refused(name, error.__cause__)
    return (
        f"{name} is not in the local cache and the Hub cannot be reached: check the network and HF_HUB_OFFLINE, "
        "set CSM_MODEL to a local folder, or try CSM_MODEL=demo"
    )


def _refused(name: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code if error.response is not None else "no"
    return f"the Hub answered {status} for {name}: check HF_TOKEN and try again, or try CSM_MODEL=demo"
