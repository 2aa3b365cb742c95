"""What a sandbox's root holds, as bubblewrap arguments.

The root is built from nothing: the system's programs and libraries, the interpreter and its packages, our bootstrap, and a
synthesised /etc, all read-only; /proc, a small /dev, sized tmpfs; and the workspace, last, so that no mount point is ever
looked up inside a directory that a tenant could fill with symlinks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from executor.sandbox.base import Limits

USER = 10001  # uid and gid inside
WORKSPACE = "/workspace"
PACKAGES = f"{WORKSPACE}/.local"  # what `pip install` adds, as in image/site/sitecustomize.py
BOOTSTRAP = "/opt/sandbox"
EGRESS = "/run/egress"  # profile `net`: the directory of `Spec.egress`, read-only; as in image/forwarder.py
PROXY = "http://127.0.0.1:3128"  # where image/forwarder.py listens
SYSTEM = ("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/share")
LINKED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")  # into /usr on merged systems, directories of their own elsewhere
TMP, SHM = "/tmp", "/dev/shm"  # noqa: S108  (the sandbox's own)
STAGE = TMP  # as in launch.py: a mount private to one launch, which hides the host's
RUN_SIZE = 16 * 1024**2


class Sources:
    """The directories to bind. Where this process is root (`staged`), bubblewrap runs as a user who may not reach them by
    name: the launcher then mounts them as STAGE/0, STAGE/1, …, in the order of `stage`."""

    def __init__(self, staged: bool) -> None:
        self.staged = staged
        self.stage: list[str] = []

    def name(self, path: Path) -> str:
        """What bubblewrap is to call the directory `path`."""
        real = str(path.resolve(strict=True))
        if not self.staged:
            return real
        self.stage.append(real)
        return f"{STAGE}/{len(self.stage) - 1}"


def covered(path: Path, by: list[Path]) -> bool:
    return any(path.is_relative_to(other) for other in by)


def read_only(extra: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Pairs (source, destination) of everything that is bound read-only where it is on the host. `extra` are directories
    an interpreter needs; those inside one already bound are left out."""
    bound = [Path(name) for name in SYSTEM if Path(name).is_dir() and not Path(name).is_symlink()]
    bound += [Path(name) for name in LINKED if Path(name).is_dir() and not Path(name).is_symlink()]
    for path in sorted(extra, key=lambda path: len(path.parts)):
        if not covered(path, bound):
            bound.append(path)
    yield from ((path, path) for path in bound)


def links() -> Iterator[tuple[str, str]]:
    for name in (*SYSTEM, *LINKED):
        path = Path(name)
        if path.is_symlink():
            yield str(path.readlink()), name


def tmpfs(size: int, mode: str, where: str) -> list[str]:
    return ["--perms", mode, "--size", str(size), "--tmpfs", where]


def root(
    sources: Sources, etc: Path, image: Path, extra: list[Path], limits: Limits, egress: Path | None = None
) -> list[str]:
    """The mounts but for the workspace. `egress` is `Spec.egress`."""
    args = [*tmpfs(limits.tmp, "1777", TMP), *tmpfs(RUN_SIZE, "0755", "/run")]
    for source, where in (*read_only(extra), (etc, Path("/etc")), (image, Path(BOOTSTRAP))):
        args += ["--ro-bind", sources.name(source), str(where)]
    if egress is not None:
        args += ["--ro-bind", sources.name(egress.parent), EGRESS]
    for target, name in links():
        args += ["--symlink", target, name]
    args += ["--proc", "/proc", "--dev", "/dev", *tmpfs(limits.shm, "1777", SHM), "--remount-ro", "/dev"]
    return args


def isolation(survive: bool) -> list[str]:
    """`survive`: whether the sandbox outlives the executor."""
    return [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--new-session"),
        *(() if survive else ("--die-with-parent",)),
        *("--cap-drop", "ALL", "--uid", str(USER), "--gid", str(USER), "--hostname", "sandbox", "--clearenv"),
    ]


def environment(python: Path, limits: Limits, egress: Path | None = None) -> dict[str, str]:
    """All that a cell finds in os.environ when it starts. `egress` is `Spec.egress`: every backend that gives it to a
    sandbox mounts its directory (not the socket, which a later life of the executor binds anew) at EGRESS, read-only."""
    cores = str(max(1, round(limits.cpus)))
    return network(egress) | {
        "PATH": f"{python.parent}:/usr/bin:/bin:{PACKAGES}/bin",
        "HOME": WORKSPACE,
        "USER": "sandbox",
        "LANG": "C.UTF-8",
        "TMPDIR": TMP,
        "IPYTHONDIR": "/run/ipython",
        "JUPYTER_CONFIG_DIR": "/run/jupyter",
        "JUPYTER_DATA_DIR": "/run/jupyter",
        "JUPYTER_RUNTIME_DIR": "/run/jupyter",
        "XDG_CACHE_HOME": f"{TMP}/.cache",
        "MPLCONFIGDIR": "/run/matplotlib",
        "OMP_NUM_THREADS": cores,
        "OPENBLAS_NUM_THREADS": cores,
        "LOKY_MAX_CPU_COUNT": cores,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONPATH": f"{BOOTSTRAP}/site",
        "PYTHONNOUSERSITE": "1",  # the gateway must import nothing of the tenant's; sitecustomize.py adds it for the rest
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


def network(egress: Path | None) -> dict[str, str]:
    """How programs find the proxy, the package indexes and the certificate authorities; without a grant, that pip need not
    look for any. What lies beside the socket is written by `executor.egress.beside`."""
    if egress is None:
        return {"PIP_NO_INDEX": "1"}
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), PROXY)
    local = dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1")
    pip = {"PIP_CONFIG_FILE": f"{EGRESS}/pip.conf", "PIP_NO_CACHE_DIR": "1"}
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
    bundle = dict.fromkeys(names, f"{EGRESS}/ca.pem") if (egress.parent / "ca.pem").is_file() else {}
    return proxies | local | pip | bundle


def settings(variables: dict[str, str]) -> list[str]:
    return [word for name, value in variables.items() for word in ("--setenv", name, value)]
