"""Programs of a Gardener seed, built through the Go module proxy: its resource manager, and a judge of our status.

Both are modules of their own that require Gardener, as Gardener's `replace` directives do not count there.
"""

import hashlib
import shutil
from pathlib import Path

import gobuild
from kubernetes import APISERVER, siblings

GARDENER = "1.149.3"
_MODULE = "github.com/gardener/gardener"
_REQUIRED = f"require {_MODULE}/pkg/apis v{GARDENER}\n"


def resource_manager() -> Path:
    """gardener-resource-manager: applies ManagedResources."""
    package = f"{_MODULE}/cmd/gardener-resource-manager"

    def build(work: Path) -> Path:
        return gobuild.as_dependency(work, f"{_MODULE}@v{GARDENER}", package, _REQUIRED)

    return gobuild.program("gardener-resource-manager", GARDENER, build, slow=True)


def controller_manager() -> Path:
    """kube-controller-manager: foreground deletion, namespaces, StatefulSets."""
    package = "k8s.io/kubernetes/cmd/kube-controller-manager"

    def build(work: Path) -> Path:
        return gobuild.as_dependency(work, f"k8s.io/kubernetes@v{APISERVER}", package, siblings())

    return gobuild.program("kube-controller-manager", APISERVER, build, slow=True)


def crds() -> dict[str, Path]:
    """The definitions that the module carries, by the name of their file behind `crd-`."""
    folder = Path(gobuild.module(f"{_MODULE}@v{GARDENER}")["Dir"])
    return {path.stem.partition("crd-")[2]: path for path in sorted(folder.rglob("*crd-*.yaml"))}


def gardenlet() -> Path:
    """The code with which gardenlet itself writes, awaits, migrates and destroys Extensions; see gardenlet/main.go."""
    source = Path(__file__).with_name("gardenlet") / "main.go"
    version = f"{GARDENER}-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}"

    def build(work: Path) -> Path:
        shutil.copy(source, work)
        return gobuild.as_dependency(work, f"{_MODULE}@v{GARDENER}", ".", _REQUIRED)

    return gobuild.program("gardenlet", version, build, slow=True)
