"""Our part of the CRI against the whole of it, as Debian ships it, and against what protoc makes of our file today."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from floxbridge_demo import cri_pb2
from tests.conftest import cannot_run
from tests.containerds import RUNTIMES

OURS = Path(cri_pb2.__file__).with_name("cri.proto")
THEIRS = RUNTIMES / "trixie/usr/share/gocode/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto"

Fields = dict[tuple[str, str], tuple[int, int, int, str]]


def described(proto: Path, folder: Path) -> FileDescriptorProto:
    output = folder / f"{proto.stem}.binpb"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{proto.parent}", f"--descriptor_set_out={output}"]
    subprocess.run([*command, str(proto)], check=True)
    (described,) = FileDescriptorSet.FromString(output.read_bytes()).file
    return described


def fields_of(file: FileDescriptorProto) -> Fields:
    """(message, field) -> number, label, type, type name. The entries of maps are messages inside their message."""
    messages = [*file.message_type, *(nested for message in file.message_type for nested in message.nested_type)]
    return {
        (message.name, field.name): (field.number, field.label, field.type, field.type_name)
        for message in messages
        for field in message.field
    }


def values_of(file: FileDescriptorProto) -> dict[tuple[str, str], int]:
    return {(enum.name, value.name): value.number for enum in file.enum_type for value in enum.value}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> FileDescriptorProto:
    if not THEIRS.exists():
        cannot_run(f"no {THEIRS}; `make test` gets it on Debian")
    folder = tmp_path_factory.mktemp("proto")
    without_gogo = re.sub(r"(?m)^(import \"github|option \(gogo).*$", "", THEIRS.read_text())
    stripped = folder / "api.proto"
    stripped.write_text(re.sub(r"\s\[\(gogoproto\.[^\]]*\]", "", without_gogo))
    return described(stripped, folder)


def test_every_field_is_the_protocols(theirs: FileDescriptorProto, tmp_path: Path) -> None:
    ours, whole = fields_of(described(OURS, tmp_path)), fields_of(theirs)
    assert {name: whole.get(name) for name in ours} == ours


def test_every_value_is_the_protocols(theirs: FileDescriptorProto, tmp_path: Path) -> None:
    ours, whole = values_of(described(OURS, tmp_path)), values_of(theirs)
    assert {name: whole.get(name) for name in ours} == ours


def test_the_generated_code_is_of_this_file(tmp_path: Path) -> None:
    generated = FileDescriptorProto()
    cri_pb2.DESCRIPTOR.CopyToProto(generated)
    ours = described(OURS, tmp_path)
    assert (fields_of(generated), values_of(generated)) == (fields_of(ours), values_of(ours))
