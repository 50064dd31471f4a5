"""What the tests share: the server under test, a channel to it, and the images to put."""

import os
import pathlib
import uuid
from urllib.parse import urlsplit

import grpc
import pytest

from wirephoto.v1 import image_service_pb2 as pb
from wirephoto.v1 import image_service_pb2_grpc as pb_grpc


def required(name: str) -> str:
    value = os.environ.get(name)
    assert value, f"{name} is not set: WIREPHOTO_URL is a running server, WIREPHOTO_PHOTO and WIREPHOTO_LARGE are files"
    return value


@pytest.fixture(scope="session")
def channel():
    address = urlsplit(required("WIREPHOTO_URL")).netloc
    with grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", 9 << 20)]) as channel:
        yield channel


@pytest.fixture(scope="session")
def stub(channel):
    return pb_grpc.ImageServiceStub(channel)


@pytest.fixture(scope="session")
def photo() -> bytes:
    return pathlib.Path(required("WIREPHOTO_PHOTO")).read_bytes()


@pytest.fixture(scope="session")
def large() -> bytes:
    content = pathlib.Path(required("WIREPHOTO_LARGE")).read_bytes()
    assert len(content) > 50_000_000, "WIREPHOTO_LARGE is to be an image of about 60 MB"
    return content


@pytest.fixture
def new_id(stub):
    """Makes ids nobody else uses, and deletes their images afterwards."""
    made = []

    def make(prefix: str = "py") -> str:
        made.append(f"{prefix}-{uuid.uuid4().hex[:12]}")
        return made[-1]

    yield make
    for image_id in made:
        stub.DeleteImage(pb.DeleteImageRequest(name=f"images/{image_id}", allow_missing=True))
