import subprocess
import sys

import pytest

from csm.asr.check import check
from csm.errors import ModelUnavailable


def test_a_missing_package_is_told_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ModelUnavailable, match=r"pip install 'csm-server\[asr\]'"):
        check("base.en")


@pytest.mark.slow
def test_a_missing_folder_is_told(folder, tmp_path):
    with pytest.raises(ModelUnavailable, match="there is no folder"):
        check(str(tmp_path / "nowhere"))


@pytest.mark.slow
def test_a_folder_without_a_model_is_told(folder, tmp_path):
    with pytest.raises(ModelUnavailable, match=r"has no model.bin, config.json, tokenizer.json: .* CTranslate2"):
        check(str(tmp_path))


@pytest.mark.slow
def test_a_good_folder_and_a_name_pass(folder):
    for model in (str(folder), "base.en", "Systran/faster-whisper-base.en", "none"):
        check(model)


@pytest.mark.slow
def test_checking_imports_nothing_large(folder):
    """It is done before each start; asked in a process of its own, because others have imported it here."""
    script = (
        "import sys; from csm.asr.transcriber import Transcriber; from csm.asr import check; "
        "from csm.settings import load; "
        f"check({str(folder)!r}); assert Transcriber.from_settings(load(None, transcriber={str(folder)!r})); "
        "sys.exit(str(found) if (found := {'torch', 'faster_whisper', 'ctranslate2'} & sys.modules.keys()) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr
