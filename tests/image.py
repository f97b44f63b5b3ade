"""The steps of a Dockerfile, done in a directory instead of a container."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePath

# Is in the base image, with its Python.
BASE = "usr/local"


@dataclass
class Image:
    """What is in an image, and how it is started."""

    root: Path
    environment: dict[str, str]
    workdir: Path = field(init=False)
    user: str = "root"
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Steps that would change this machine."""

    def here(self, text: str) -> str:
        """The text with the directory that all is in where it is here."""
        return text.replace("/service", f"{self.root}/service")

    def files(self) -> dict[Path, int]:
        """When each file was changed last."""
        return {path: path.lstat().st_mtime_ns for path in self.root.rglob("*")}

    def run(self, step: str) -> None:
        __tracebackhide__ = True
        if step.startswith("useradd "):
            self.left_out.append(step)
            return
        done = subprocess.run(
            step,
            shell=True,
            cwd=self.workdir,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{step}\n{done.stdout}{done.stderr}"

    def copy(self, words: list[str], context: Path, stages: Path) -> None:
        """COPY: what matches none of the patterns of `.dockerignore`, or is from another stage."""
        *sources, target = words
        if sources[0].startswith("--from="):
            source = stages / sources[0].removeprefix("--from=") / sources[1].lstrip("/")
            shutil.copytree(source, self.workdir / target, symlinks=True)
            return
        patterns = (context / ".dockerignore").read_text(encoding="utf-8").split()
        for path in sorted(context.rglob("*")):
            name = path.relative_to(context)
            if path.is_file() and wanted(name, sources) and not is_ignored(name, patterns):
                (self.workdir / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, self.workdir / name)


def wanted(name: PurePath, sources: list[str]) -> bool:
    return any(source == "." or fnmatch(str(name), source) for source in sources)


def is_ignored(name: PurePath, patterns: list[str]) -> bool:
    """Whether a pattern fits this file or a directory that it is in."""
    for path in [name, *name.parents][:-1]:
        for pattern in patterns:
            anywhere = pattern.removeprefix("**/")
            subject = path.name if anywhere != pattern else str(path)
            if subject.count("/") == anywhere.count("/") and fnmatch(subject, anywhere):
                return True
    return False


def instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    for line in dockerfile.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            yield name, rest.strip()


def build(context: Path, place: Path, python: Path, environment: Mapping[str, str]) -> Image:
    """Do what the context's Dockerfile says, with this Python and these variables for a base.

    All stages are done at the same path, as their paths in containers are the same; those that
    are over are put beside it, by their names.
    """
    image = None
    stage = ""
    for name, rest in instructions((context / "Dockerfile").read_text(encoding="utf-8")):
        if name == "FROM":
            if image:
                image.root.rename(place / stage)
            _, _, stage = rest.partition(" AS ")
            image = Image(place / "root", dict(environment))
            image.workdir = image.root
            subprocess.run([python, "-m", "venv", image.root / BASE], check=True)
            image.environment["PATH"] = f"{image.root / BASE}/bin:{environment['PATH']}"
            continue
        assert image
        match name:
            case "ENV":
                for each in shlex.split(rest):
                    variable, _, value = each.partition("=")
                    value = image.here(value).replace("$PATH", image.environment["PATH"])
                    image.environment[variable] = value
            case "WORKDIR":
                image.workdir = image.root / rest.lstrip("/")
                image.workdir.mkdir(parents=True, exist_ok=True)
            case "COPY":
                image.copy(rest.split(), context, place)
            case "RUN":
                image.run(rest)
            case "USER":
                image.user = rest
            case "CMD":
                image.command = json.loads(rest)
            case "HEALTHCHECK":
                image.healthcheck = json.loads(rest.partition(" CMD ")[2])
            case _:
                assert name == "EXPOSE", name
    assert image
    return image
