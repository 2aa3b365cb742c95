"""What is in the sandbox image, and what is not; and its name, which says what it was made of."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import pytest

from executor.sandbox import etc, image
from executor.sandbox.argv import USER
from tests.support.docker import docker, run

PYTHON = "/opt/venv/bin/python"
PATH = "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ABSENT = (
    *("docker", "dockerd", "containerd", "ctr", "runc", "podman", "buildah", "kubectl", "crictl", "helm"),
    *("gcc", "g++", "cc", "c++", "clang", "make", "ld", "as", "apt", "apt-get", "dpkg", "perl"),
    *("sudo", "su", "mount", "umount", "passwd", "newgrp", "chsh", "chfn", "gpasswd", "newuidmap"),
    *("ssh", "curl", "wget", "nc", "gdb", "strace"),
)
GONE = ("/var/lib/apt", "/var/lib/dpkg", "/var/cache", "/var/log", "/root/.cache", "/opt/sandbox/trim.py")


@pytest.fixture
def inside(sandbox_image: str, own_label: str):
    """Runs a program in a container as the image's own user, or as `user`; what it printed."""
    options = ("--rm", "-i", "--label", own_label, "--network", "none", "--cap-drop", "ALL", "--read-only")
    writable = ("--tmpfs", "/tmp", "--env", "MPLCONFIGDIR=/tmp/matplotlib")

    def ran(code: str, user: str = f"{USER}:{USER}") -> str:
        done = docker("run", *options, *writable, "--user", user, "--entrypoint", PYTHON, sandbox_image, "-", text=code)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return ran


# ---- what is not there -----------------------------------------------------------------------------------------------


def test_t32_no_file_runs_with_other_rights_than_its_callers(sandbox_image: str, own_label: str) -> None:
    """As root, who sees every file; in no layer either, since the image has none below what is seen."""
    options = ("--rm", "--label", own_label, "--network", "none", "--user", "0", "--entrypoint", "/usr/bin/find")
    found = docker("run", *options, sandbox_image, "/", "-xdev", "-perm", "/6000")
    assert (found.returncode, found.stdout) == (0, ""), found.stderr
    layers = json.loads(docker("image", "inspect", sandbox_image).stdout)[0]["RootFS"]["Layers"]
    assert len(layers) == 2  # everything, and the bootstrap


def test_t32_no_client_no_compiler_no_package_manager(inside) -> None:
    assert inside(f"import shutil; print([name for name in {ABSENT!r} if shutil.which(name, path={PATH!r})])") == "[]\n"
    assert inside(f"import os; print([path for path in {GONE!r} if os.path.exists(path)])") == "[]\n"


def test_t32_the_user_is_not_root_and_nobody_else_is_known(inside, sandbox_image: str) -> None:
    config = json.loads(docker("image", "inspect", sandbox_image).stdout)[0]["Config"]
    assert config["User"] == f"{USER}:{USER}"
    assert not [name for name in config["Env"] if any(part in name for part in ("TOKEN", "KEY", "PASSWORD", "PIP", "CERT"))]
    for name in ("passwd", "group", "nsswitch.conf"):
        assert inside(f"print(open('/etc/{name}').read(), end='')") == etc.FILES[name]
    assert inside("import os; print([n for n in ('shadow', 'gshadow', 'subuid') if os.path.exists(f'/etc/{n}')])") == "[]\n"


def test_t32_the_user_owns_and_may_write_nothing_but_the_workspace(inside) -> None:
    """Were the root file system writable."""
    code = """
import os
found = []
for top, directories, files in os.walk("/"):
    directories[:] = [name for name in directories if os.path.join(top, name) not in ("/proc", "/sys", "/dev")]
    for name in directories + files:
        path = os.path.join(top, name)
        status = os.lstat(path)
        if status.st_uid == os.getuid() or (status.st_mode & 0o002 and not os.path.islink(path)):
            found.append(path)
print(found)
"""
    assert set(ast.literal_eval(inside(code))) == {"/workspace", "/tmp"}


def test_t30_what_makes_the_start_dear_cannot_be_imported(inside) -> None:
    looked = "import importlib.util as u; print([n for n in ('rfc3987_syntax', 'lark') if u.find_spec(n) is not None])"
    assert inside(looked) == "[]\n"


def test_t30_the_gateway_imports_nothing_it_does_not_need(inside) -> None:
    code = """
import sys
sys.path.insert(0, "/opt/sandbox")
from absent import leave_out
leave_out()
import app, forwarder, manager
heavy = {"jsonschema", "yaml", "arrow", "nbformat", "nbconvert", "IPython", "numpy", "jupyter_server.serverapp"}
print(sorted(heavy & set(sys.modules)), len(sys.modules) < 520)
"""
    assert inside(code) == "[] True\n"


# ---- what is there ---------------------------------------------------------------------------------------------------

WORKS = """
import os, shutil, sys
shutil.copytree("/opt/venv/share/codeact/matplotlib", "/tmp/matplotlib")
import numpy as np, pandas as pd, scipy.stats, scipy.optimize, scipy.sparse.linalg, scipy.signal, sympy, networkx as nx
import statsmodels.api as sm, statsmodels.formula.api as smf, seaborn as sns, plotly.express as px, plotly.io
import sklearn.linear_model, sklearn.datasets, sklearn.ensemble, openpyxl, pyarrow as pa, pyarrow.parquet, pyarrow.dataset
import pyarrow.compute, pyarrow.csv, pyarrow.fs, pyarrow.feather, requests, bs4, PIL.Image, matplotlib.pyplot as plt
os.chdir("/tmp")
frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [2.0, 4.1, 5.9, 8.2], "c": list("wxyz")})
frame.to_parquet("f.parquet"), frame.to_feather("f.feather")
assert pd.read_parquet("f.parquet").equals(frame) and pd.read_feather("f.feather").equals(frame)
frame.to_excel("f.xlsx", index=False)
assert pd.read_excel("f.xlsx")["b"].equals(frame["b"])
assert abs(smf.ols("b ~ a", frame).fit().params["a"] - 2.04) < 0.01
assert sm.datasets.get_rdataset is not None and sm.datasets.sunspots.load_pandas().data.shape[0] > 300
assert sklearn.linear_model.LinearRegression().fit(frame[["a"]], frame["b"]).score(frame[["a"]], frame["b"]) > 0.99
assert sklearn.datasets.load_iris().data.shape == (150, 4)
assert scipy.optimize.minimize(lambda x: (x[0] - 3) ** 2, [0.0]).x[0] > 2.99
assert nx.shortest_path(nx.path_graph(4), 0, 3) == [0, 1, 2, 3] and sympy.integrate(sympy.Symbol("x")) is not None
assert bs4.BeautifulSoup("<p>hi</p>", "html.parser").p.text == "hi"
assert pa.compute.sum(pa.array([1, 2])).as_py() == 3 and pyarrow.dataset.dataset("f.parquet").count_rows() == 4
assert len(px.line(frame, x="a", y="b").to_html()) > 1000
sns.lineplot(frame, x="a", y="b"); plt.savefig("f.png"); plt.savefig("f.pdf"); plt.savefig("f.svg")
assert PIL.Image.open("f.png").size[0] > 100
cached = {name: getattr(module, "__cached__", None) for name, module in sys.modules.items()}
loose = [name for name, at in cached.items() if at and not os.path.exists(at)]
print("all", loose)
"""


def test_the_libraries_work_for_any_user_and_are_compiled(inside) -> None:
    for user in (f"{USER}:{USER}", "234567:234567"):
        assert inside(WORKS, user) == "all []\n"


def test_the_first_plot_need_not_look_for_fonts(inside) -> None:
    code = """
import os, shutil, time
shutil.copytree("/opt/venv/share/codeact/matplotlib", "/tmp/matplotlib")
before = {path.name: path.stat().st_mtime_ns for path in os.scandir("/tmp/matplotlib")}
import matplotlib.font_manager
assert len(matplotlib.font_manager.fontManager.ttflist) > 20
print(before == {path.name: path.stat().st_mtime_ns for path in os.scandir("/tmp/matplotlib")} and len(before) > 0)
"""
    assert inside(code) == "True\n"


def test_pip_is_there_for_sandboxes_with_a_network(inside) -> None:
    code = "import subprocess, sys; print(subprocess.run([sys.executable, '-m', 'pip', '--version']).returncode)"
    assert inside(code).endswith("0\n")


# ---- its name --------------------------------------------------------------------------------------------------------


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return shutil.copytree(image.CONTEXT, tmp_path / "image", ignore=shutil.ignore_patterns("__pycache__"))


def test_the_name_changes_with_every_source_and_with_nothing_else(context: Path) -> None:
    name = image.name(context)
    assert name == image.name(image.CONTEXT)
    assert name.startswith("codeact-sandbox:") and len(name) == len("codeact-sandbox:") + 12
    names = {name}
    for path in (*image.sources(context), context / "site" / "new.py"):
        path.touch()
        path.write_bytes(path.read_bytes() + b"\n")
        names.add(image.name(context))
    assert len(names) == len(image.sources(context)) + 1
    (context / "__pycache__").mkdir()
    (context / "__pycache__" / "gateway.cpython-311.pyc").touch()
    (context / "requirements.in").write_text("other words, same lock")
    assert image.name(context) in names


def test_without_the_sources_there_is_no_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        image.name(tmp_path)


def test_what_the_dockerfile_copies_is_in_the_name(context: Path) -> None:
    """A file that the image has and the name does not know of would go stale unnoticed."""
    known = {path.relative_to(context).parts[0] for path in image.sources(context)}
    lines = [line.split()[1:-1] for line in (context / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")]
    copied = [name for names in lines for name in names if not any(name.startswith("--from") for name in names)]
    assert copied
    for pattern in copied:
        assert {path.name for path in context.glob(pattern)} <= known, pattern


def test_building_what_is_there_does_nothing(sandbox_image: str) -> None:
    again = run("build-sandbox.sh")
    assert again.returncode == 0 and again.stderr == "" and again.stdout == image.name() + "\n"
