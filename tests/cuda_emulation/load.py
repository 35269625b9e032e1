"""Build the emulated CUDA modules and put them, with the stand-in for CuPy, where imports look."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
BUILD = HERE.parent.parent / "build" / "cuda_emulation"
COUNTING = BUILD.with_name("cuda_counts")  # with -DALEXNET_COUNT=ON

loaded = False  # whether `load` was called
origins: dict[str, Path] = {}  # of the modules that were imported by name


def build(folder: Path = BUILD, *options: str) -> Path:
    """Compile what has changed; the module's path. RuntimeError if it does not compile."""
    configure = ["cmake", "-S", str(HERE), "-B", str(folder), "-G", "Ninja", *options]
    configure += [f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={_pybind11()}"]
    for command in (configure, ["cmake", "--build", str(folder)]):
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{run.stdout}{run.stderr}")
    return next(folder.glob("_cuda.*.so"))


def _pybind11() -> str:
    import pybind11

    return pybind11.get_cmake_dir()


def load(module: Path) -> ModuleType:
    """Import the emulated module as `alexnet._cuda`, the ladders beside it, and their `cupy`."""
    global loaded
    for name in [name for name in sys.modules if name.partition(".")[0] == "cupy"]:
        del sys.modules[name]  # CuPy itself, where it is installed without a device
    sys.path.insert(0, str(HERE))
    kernels = import_from("alexnet._cuda", module)
    import_from("_cuda_capture", module)  # of the same library, as `cupy.cuda` needs it
    import_from("alexnet._study_cuda", next(module.parent.glob("_study_cuda.*.so")))
    loaded = True
    return kernels


def import_from(name: str, path: Path) -> ModuleType:
    """Import the module at `path` under a name, whatever stands under it.

    pybind11 keeps what it has made under the full name, and would give it for another file as well:
    a second module of a name needs a package before it, as in "lines._cuda_counts".
    """
    if origins.setdefault(name, path) != path:
        raise RuntimeError(f"{name} was imported from {origins[name]}, not from {path}")
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def beside(name: str) -> Path:
    """Another module of the same build."""
    for found in path().parent.glob(f"{name}.*.so"):
        return found
    raise ImportError(f"{name} is not built with sanitizers: run these tests without them")


def path() -> Path:
    """`ALEXNET_EMULATED_CUDA`, else a fresh build."""
    given = os.environ.get("ALEXNET_EMULATED_CUDA")
    return Path(given) if given else build()


if __name__ == "__main__":  # python -m cuda_emulation.load FOLDER [CMake options]
    print(build(Path(sys.argv[1]), *sys.argv[2:]))
