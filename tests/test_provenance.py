"""Where a record comes from."""

from __future__ import annotations

import json
import warnings

import torch

from kdbench import __version__
from kdbench.provenance import code, environment, nondeterministic_operations

CPU = torch.device("cpu")


def test_the_environment_names_versions_device_class_precision_and_threads() -> None:
    found = environment(CPU, "fp32")
    assert torch.__version__.startswith(found["packages"]["torch"])
    assert found["device"]["type"] == "cpu"
    assert found["precision"] == "fp32"
    assert found["threads"] == torch.get_num_threads()


def test_the_environment_is_plain_json() -> None:
    assert json.loads(json.dumps(environment(CPU, "bf16"))) == environment(CPU, "bf16")


def test_the_code_is_named_by_version_and_commit() -> None:
    found = code()
    assert found.version == __version__
    assert found.commit is None or len(found.commit) == 40


def test_operations_without_a_deterministic_form_are_named_and_torch_is_left_as_it_was() -> None:
    def work() -> None:
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        for name in ("max_pool3d_backward_cuda", "index_add_cuda_", "max_pool3d_backward_cuda"):
            warnings.warn(f"{name} does not have a deterministic implementation, but you set ...", stacklevel=1)
        warnings.warn("something else", stacklevel=1)

    assert nondeterministic_operations(work) == ["index_add_cuda_", "max_pool3d_backward_cuda"]
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_step_on_a_cpu_is_deterministic() -> None:
    assert nondeterministic_operations(lambda: torch.nn.MaxPool3d(2)(torch.rand(1, 1, 4, 4, 4))) == []
