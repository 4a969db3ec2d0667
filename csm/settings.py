"""The settings of the server, read once from the environment and `.env` into a frozen object."""

import difflib
import logging
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from csm.service_links import service_links

PREFIX = "CSM_"
DEMO = "demo"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

logger = logging.getLogger("csm.settings")

CommaList = Annotated[tuple[str, ...], NoDecode]
SecretList = Annotated[tuple[SecretStr, ...], NoDecode]


class SettingsError(ValueError):
    """The configuration is wrong; the message names the variable and the remedy."""


class Settings(BaseSettings):
    """The configuration of a server; each field is set by the environment variable `CSM_<FIELD>`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore", populate_by_name=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, except `service_links`."""
        if isinstance(env_settings, EnvSettingsSource):
            links = {name.lower() for name in service_links(os.environ, PREFIX)}
            env_settings.env_vars = {name: v for name, v in env_settings.env_vars.items() if name not in links}
        return init_settings, env_settings, dotenv_settings

    model: str = Field("sesame/csm-1b", description="Hub repository, local folder, or `demo` for the embedded model.")
    revision: str | None = Field(None, description="Branch, tag or commit of the Hub repository; unset, `main`.")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="Device to run on: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16", "int8", "int4"] = Field(
        "auto",
        description="Precision of the weights: `float32`, `bfloat16`, `float16`, or on CPUs `int8` or `int4`. `auto` "
        "takes `bfloat16` or `float16` on an NVIDIA GPU, `int8` on a CPU, and `float32` for the demo model, on Apple "
        "silicon and with `CSM_ENGINE=transformers`.",
    )
    engine: Literal["csm", "transformers"] = Field(
        "csm",
        description="Engine: `csm`, or `transformers`, which is meant for comparison: it is slow, and does not prevent "
        "early endings and repetition.",
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(
        5000, ge=1, le=65535, validation_alias=AliasChoices("CSM_PORT", "PORT"), description="Port to listen on."
    )
    api_keys: SecretList = Field((), description="Comma-separated API keys.")
    api_keys_file: Path | None = Field(None, description="File with a line `name:sha256:expiry` for each API key.")
    allow_anonymous: bool = Field(
        False,
        description="Serve anyone: allow an address that is not loopback, proxies, and `CSM_CORS_ORIGINS=*` without "
        "API keys. Nobody can store voices then.",
    )
    require_consent: bool = Field(False, description="Require the form field `consent=true`.")
    rate_limit: str = Field(
        "10 per minute",
        description="Requests allowed to each key; without keys, to each client address. GET requests have a quota of "
        "their own.",
    )
    character_limit: str = Field(
        "20000 per minute", description="Characters of text allowed to each key or address; `none` for no limit."
    )
    rate_limit_storage: str = Field(
        "memory://",
        description="Where quotas are counted: `memory://`, or `redis://host:port/db`, shared by several servers.",
    )
    trusted_proxies: int = Field(
        0, ge=0, description="Number of proxies in front of the server, whose `X-Forwarded-For` is trusted."
    )
    cors_origins: CommaList = Field(
        (), description="Comma-separated origins whose web pages may call the server; `*` for all."
    )

    max_upload_mb: float = Field(10.0, gt=0, description="Maximum size of a request body, in megabytes.")
    max_reference_seconds: float = Field(
        30.0, ge=1, le=60, description="Maximum length of reference audio, in seconds; longer audio is cut at a pause."
    )
    voices_dir: Path | None = Field(
        None, description="Folder of stored voices, with those for everybody in `shared`; unset, none are stored."
    )
    max_voices: int = Field(100, ge=1, description="Stored voices allowed to each key.")
    voice_aliases: CommaList = Field(
        (), description="Comma-separated `name=voice`: further names of stored voices, such as `alloy=default`."
    )
    transcriber: str = Field(
        "none",
        description="Recogniser of reference audio that has no transcript: a Whisper model such as `base.en`, a Hub "
        "repository, a folder, or `none`.",
    )
    max_text_chars: int = Field(
        10_000, ge=1, description="Maximum length of the text, and of the transcript, in characters."
    )
    normalize: bool = Field(True, description="Replace numbers, dates, addresses and markup in English text by words.")
    watermark: bool = Field(True, description="Mark all speech as synthetic, with Perth's watermark: `on` or `off`.")
    lexicon: Path | None = Field(None, description="File with a line `word = respelling` for each mispronounced word.")
    max_audio_seconds: float = Field(
        90.0, gt=0, le=150, description="Maximum length of the audio of one segment of a text, in seconds."
    )
    deadline_seconds: float = Field(
        120.0, gt=0, description="Maximum wait for the first audio, and for the device to finish a step, in seconds."
    )

    slots: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Generations at once; unset, 2 on a CPU, and on a GPU as many as its memory allows, up to 16.",
    )
    queue: int = Field(8, ge=0, description="Requests that may wait for a slot.")
    voice_cache_mb: int = Field(256, ge=0, description="Memory for cached voices and conversations, in megabytes.")
    cache_dir: Path | None = Field(
        None, description="Folder for prepared models and compiled kernels; unset, `~/.cache/csm`."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Minimum level of log messages: `DEBUG`, `INFO`, `WARNING` or `ERROR`."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Format of log messages: `text`, or `json` for one JSON object a line."
    )
    metrics_key: SecretStr | None = Field(
        None, description="Key of `/metrics`, for Prometheus; unset, there is no `/metrics` on the server's port."
    )
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="Port on 127.0.0.1 that serves the metrics without a key."
    )

    @field_validator("api_keys", "cors_origins", "voice_aliases", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("character_limit")
    @classmethod
    def _unlimited(cls, value: str) -> str:
        # An empty variable counts as unset, so it takes a word to say that there is no limit.
        return "" if value.strip().lower() == "none" else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("voice_aliases")
    @classmethod
    def _pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = [name.strip() for name, _, target in (pair.partition("=") for pair in value) if target.strip()]
        if len(names) < len(value) or len(set(names)) < len(names) or not all(names):
            raise ValueError("write it like alloy=default,echo=default, with each name once")
        return value

    @model_validator(mode="after")
    def _not_open_to_the_world(self) -> "Settings":
        if self.has_keys or self.allow_anonymous:
            return self
        remedy = "set CSM_API_KEYS or CSM_API_KEYS_FILE, or CSM_ALLOW_ANONYMOUS=1 to serve anyone"
        if self.host not in LOOPBACK:
            raise ValueError(f"CSM_HOST={self.host} is reachable from outside but no keys are set: {remedy}")
        if self.trusted_proxies:
            raise ValueError(f"CSM_TRUSTED_PROXIES lets clients of a proxy in but no keys are set: {remedy}")
        if "*" in self.cors_origins:
            raise ValueError(f"CSM_CORS_ORIGINS=* lets every web page in but no keys are set: {remedy}")
        return self

    @model_validator(mode="after")
    def _one_way_to_the_metrics(self) -> "Settings":
        if self.metrics_port is not None and self.metrics_key is not None:
            raise ValueError(
                "CSM_METRICS_KEY and CSM_METRICS_PORT are both set: a port of its own has no key, so set one of them"
            )
        if self.metrics_port == self.port:
            raise ValueError("CSM_METRICS_PORT is CSM_PORT: choose another port, or set CSM_METRICS_KEY instead")
        return self

    @property
    def has_keys(self) -> bool:
        """Whether clients must present a key."""
        return bool(self.api_keys) or self.api_keys_file is not None

    @property
    def is_open_to_all(self) -> bool:
        """Whether clients without a key may be anyone, and not only programs on this machine."""
        return self.allow_anonymous and not self.has_keys

    @property
    def aliases(self) -> dict[str, str]:
        """The voice that each name in `voice_aliases` stands for."""
        pairs = (pair.partition("=") for pair in self.voice_aliases)
        return {name.strip(): target.strip() for name, _, target in pairs}

    @property
    def is_demo(self) -> bool:
        """Whether the embedded demo checkpoint is served."""
        return self.model == DEMO

    @property
    def cache_folder(self) -> Path:
        """The folder for prepared models and compiled kernels; it may not exist yet."""
        return self.cache_dir or Path(os.path.expanduser("~")) / ".cache" / "csm"

    @property
    def max_upload_bytes(self) -> int:
        """`max_upload_mb` in bytes."""
        return int(self.max_upload_mb * 1_000_000)


def load(env_file: Path | None = Path(".env"), **overrides: Any) -> Settings:
    """Read the settings. Overrides take precedence over the environment, and the environment over the file.

    Args:
        env_file: a dotenv file, which may be absent; None reads none.
        overrides: values of fields.

    Raises:
        SettingsError: a value is out of range or a `CSM_…` name is misspelt.
    """
    if links := service_links(os.environ, PREFIX):
        logger.warning(
            "ignored %s: Kubernetes sets them for a Service whose name begins with csm; rename it, or set "
            "enableServiceLinks: false in the pod's specification, and set the port with PORT",
            ", ".join(links),
        )
    in_file = dotenv_values(env_file).keys() if env_file else ()
    _refuse_misspelt([name for name in (*os.environ, *in_file) if name not in links])
    try:
        return Settings(_env_file=env_file, **overrides)
    except ValidationError as error:
        raise SettingsError("; ".join(map(_describe, error.errors()))) from None


def variables() -> tuple[str, ...]:
    """Return the environment variables of all settings."""
    return tuple(PREFIX + name.upper() for name in Settings.model_fields)


def _refuse_misspelt(names: list[str]) -> None:
    known = variables()
    for name in names:
        if name.startswith(PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise SettingsError(f"unknown setting {name}: {hint}")


def _describe(error: Any) -> str:
    """Describe an invalid field in one line, without its value, which may be a key."""
    where = "".join(str(part).upper() for part in error["loc"][:1])
    name = where if not where or where.startswith(PREFIX) or where == "PORT" else PREFIX + where
    message = error["msg"].removeprefix("Value error, ")
    return f"{name}: {message}" if name else message
