"""The model folder for Triton: its config parses by Triton's own schema and agrees with the model file in it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from blitznet.cli.main import main
from blitznet.core.errors import UsageError
from blitznet.core.spec import METADATA_KEY, Spec
from blitznet.export.exporter import ExportedModel, ExportOptions, export_model
from blitznet.export.formats import require_exportable
from blitznet.export.triton import batch_sizes, triton_file
from support.exported_models import NMS_SPEC, SEGMENTATION_SPEC, small_network

TYPES = {"TYPE_UINT8": "tensor(uint8)", "TYPE_FP32": "tensor(float)", "TYPE_INT64": "tensor(int64)"}
"""names in Triton -> names in onnxruntime"""


def export_small(spec: Spec, folder: Path, **options: Any) -> ExportedModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blitznet.export.exporter.load_model", lambda _: (small_network(spec), spec))
        weights = folder / "small.safetensors"
        weights.touch()
        out = folder / "models" / "small-v1.0"
        return export_model(ExportOptions(model=str(weights), to="triton", out=out, **options))


@pytest.fixture(scope="module", params=[NMS_SPEC, SEGMENTATION_SPEC], ids=["detection", "segmentation"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Spec, Path]:
    """A spec and the folder of its model."""
    spec: Spec = request.param
    file = export_small(spec, tmp_path_factory.mktemp("triton")).path
    return spec, file.parents[1]


def read_config(folder: Path) -> Any:
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def type_name(tensor: Any) -> str:
    return TYPES[model_config_pb2.DataType.Name(tensor.data_type)]


def test_the_folder_has_tritons_layout(exported: tuple[Spec, Path]) -> None:
    _, folder = exported
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {"config.pbtxt", "1/model.onnx"}
    config = read_config(folder)
    assert config.name == folder.name
    assert config.backend == "onnxruntime"


def test_tensors_are_those_of_the_file(exported: tuple[Spec, Path]) -> None:
    spec, folder = exported
    config = read_config(folder)
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    (tensor,), (source,) = config.input, session.get_inputs()
    assert (tensor.name, type_name(tensor), list(tensor.dims)) == (source.name, source.type, source.shape[1:])
    assert list(tensor.dims) == [*spec.size, 3]
    assert tensor.format == model_config_pb2.ModelInput.FORMAT_NHWC
    assert [(output.name, type_name(output)) for output in config.output] == [
        (output.name, output.type) for output in session.get_outputs()
    ]
    expected = ["boxes", "scores", "labels", "count", "class_map"]
    assert [output.name for output in config.output] == (
        expected if "detection" in spec.tasks else ["segmentation_logits"]
    )


def test_batches_of_every_size_have_the_declared_shapes(exported: tuple[Spec, Path]) -> None:
    _, folder = exported
    config = read_config(folder)
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 3, config.max_batch_size):
        images = np.zeros((batch, *config.input[0].dims), np.uint8)
        arrays = session.run([output.name for output in config.output], {config.input[0].name: images})
        for output, array in zip(config.output, arrays, strict=True):
            dims = list(output.reshape.shape) if output.HasField("reshape") else list(output.dims)
            assert len(dims) == array.ndim - 1, output.name
            assert array.shape[0] == batch, output.name
            assert all(size in (-1, actual) for size, actual in zip(dims, array.shape[1:], strict=True)), output.name
            assert all(output.dims), "Triton refuses empty axes"
            if output.HasField("reshape"):  # the client's shape has as many values as the file's
                assert np.prod(output.dims) == np.prod(dims, initial=1)


def test_batching_waits_for_no_image_and_the_queue_is_bounded(exported: tuple[Spec, Path]) -> None:
    config = read_config(exported[1])
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    policy = config.dynamic_batching.default_queue_policy
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
    assert policy.max_queue_size > 0
    assert policy.default_timeout_microseconds > 0


def test_every_batch_size_is_warmed_up(exported: tuple[Spec, Path]) -> None:
    config = read_config(exported[1])
    assert [warm_up.batch_size for warm_up in config.model_warmup] == batch_sizes(config.max_batch_size) == [1, 2, 4, 8]
    assert len({warm_up.name for warm_up in config.model_warmup}) == len(config.model_warmup)
    for warm_up in config.model_warmup:
        ((name, tensor),) = warm_up.inputs.items()
        assert (name, tensor.data_type, tensor.dims) == (
            config.input[0].name,
            config.input[0].data_type,
            config.input[0].dims,
        )
        assert tensor.zero_data


def test_clients_can_read_the_spec(exported: tuple[Spec, Path]) -> None:
    spec, folder = exported
    assert Spec.from_json(read_config(folder).parameters[METADATA_KEY].string_value) == spec


def test_text_of_a_spec_is_escaped(tmp_path: Path) -> None:
    spec = replace(SEGMENTATION_SPEC, provenance='a "quoted" line\nand \\ é')
    folder = export_small(spec, tmp_path).path.parents[1]
    assert Spec.from_json(read_config(folder).parameters[METADATA_KEY].string_value) == spec


def test_float_pixels_are_declared(tmp_path: Path) -> None:
    config = read_config(export_small(SEGMENTATION_SPEC, tmp_path, input="float32").path.parents[1])
    assert type_name(config.input[0]) == type_name(config.model_warmup[0].inputs["images"]) == "tensor(float)"


def test_a_config_of_the_user_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "blitznet.export.exporter.load_model", lambda _: (small_network(SEGMENTATION_SPEC), SEGMENTATION_SPEC)
    )
    Path("run").mkdir()
    Path("run/best.safetensors").touch()
    config = Path("model_repository/run/config.pbtxt")
    config.parent.mkdir(parents=True)
    config.write_text("max_batch_size: 1\n")
    assert main(["export", "run", "--to", "triton"]) == 2
    assert f"{config}: expected a new file" in capsys.readouterr().err
    assert config.read_text() == "max_batch_size: 1\n"
    assert main(["export", "run", "--to", "triton", "--overwrite"]) == 0
    assert read_config(config.parent).name == "run"


@pytest.mark.parametrize("name", ["my model", "a:b", ".hidden", "é"])
def test_names_are_checked(name: str) -> None:
    with pytest.raises(UsageError, match="--out: expected a folder whose name has letters, digits"):
        triton_file(Path("models") / name)


@pytest.mark.parametrize(
    ("changes", "static", "message"),
    [
        ({}, True, "--static: expected a free batch for triton, which batches requests; remove --static"),
        ({"precision": "bfloat16"}, False, "--precision: expected float32 or int8 for triton, got bfloat16"),
    ],
)
def test_options_that_triton_cannot_have(changes: dict[str, Any], static: bool, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        require_exportable(replace(NMS_SPEC, **changes), "triton", nms=True, calibrated=False, static=static)


@pytest.mark.slow
def test_an_old_config_never_stands_beside_a_new_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    folder = export_small(NMS_SPEC, tmp_path).path.parents[1]
    assert (folder / "config.pbtxt").is_file()
    monkeypatch.setattr("blitznet.export.exporter._write_triton_config", fail)
    with pytest.raises(KeyboardInterrupt):
        export_small(NMS_SPEC, tmp_path)
    assert [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()] == ["1/model.onnx"]
