"""Python's own grpcio against a running server: reflection, the four kinds of RPC, errors, health and metadata."""

import hashlib
import threading
import uuid

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from wirephoto.v1 import image_service_pb2 as pb

SERVICE = "wirephoto.v1.ImageService"
CHUNK = 1 << 20


def crc32c(data: bytes) -> int:
    """CRC-32C as RFC 3720 has it: slow, and written apart from the server's."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _crc_row(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


CRC_TABLE = [_crc_row(value) for value in range(256)]


def upload(stub, image_id, content, *, checksums=None, chunk_crc=False, finish=True, **spec):
    """Uploads in chunks of 1 MiB, the first message carrying the spec and the last finish_write."""

    def messages():
        yield pb.UploadImageRequest(spec=pb.UploadSpec(image_id=image_id, **spec))
        for offset in range(0, len(content), CHUNK):
            piece = content[offset : offset + CHUNK]
            chunk = pb.ChecksummedData(data=piece)
            if chunk_crc:
                chunk.crc32c = crc32c(piece)
            yield pb.UploadImageRequest(write_offset=offset, chunk=chunk)
        if finish:
            yield pb.UploadImageRequest(write_offset=len(content), finish_write=True, checksums=checksums)

    return stub.UploadImage(messages(), timeout=120)


def details(error: grpc.RpcError) -> dict:
    """The google.rpc details of an error, by the name of their type."""
    status = rpc_status.from_call(error)
    assert status is not None, "the error has no grpc-status-details-bin"
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    found = {}
    for detail in status.details:
        name = detail.type_url.rsplit(".", 1)[-1]
        assert name not in found, f"{name} is there twice"
        found[name] = getattr(error_details_pb2, name).FromString(detail.value)
    assert found["ErrorInfo"].domain == "wirephoto"
    return found


def test_reflection_v1alpha_lists_and_describes(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
    file = database.FindFileContainingSymbol(SERVICE)
    methods = {method.name for service in file.service for method in service.method}
    assert methods == {method.name for method in pb.DESCRIPTOR.services_by_name["ImageService"].methods}


def test_reflection_v1_lists(channel):
    # The messages of v1 are those of v1alpha; only the service's name differs.
    call = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    [answer] = call(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    assert SERVICE in {service.name for service in answer.list_services_response.service}


def test_create_get_list_update_delete(stub, photo, new_id):
    image_id = new_id()
    name = f"images/{image_id}"
    assert len(photo) <= 4 << 20, "WIREPHOTO_PHOTO is to fit into one message"
    created = stub.CreateImage(
        pb.CreateImageRequest(
            image_id=image_id,
            image=pb.Image(display_name="A photograph", labels={"team": image_id}),
            content=photo,
            checksums=pb.ImageChecksums(sha256=hashlib.sha256(photo).hexdigest(), crc32c=crc32c(photo)),
            request_id=str(uuid.uuid4()),
        )
    ).image
    assert created.name == name
    assert created.size_bytes == len(photo)
    assert created.sha256 == hashlib.sha256(photo).hexdigest()
    assert created.crc32c == crc32c(photo)
    assert created.width > 0 and created.height > 0 and created.media_type.startswith("image/")
    assert created.etag and created.generation > 0 and created.create_time.seconds > 0

    assert stub.GetImage(pb.GetImageRequest(name=name)).image == created
    assert list(stub.BatchGetImages(pb.BatchGetImagesRequest(names=[name])).images) == [created]
    listed = stub.ListImages(pb.ListImagesRequest(filter=f'labels.team = "{image_id}"'))
    assert list(listed.images) == [created] and not listed.next_page_token

    change = pb.UpdateImageRequest(image=pb.Image(name=name, etag=created.etag, display_name="Another name"))
    change.update_mask.paths.append("display_name")
    updated = stub.UpdateImage(change).image
    assert updated.display_name == "Another name" and updated.labels == created.labels
    assert updated.etag != created.etag and updated.sha256 == created.sha256

    with pytest.raises(grpc.RpcError) as stale:
        stub.UpdateImage(change)
    assert stale.value.code() == grpc.StatusCode.ABORTED
    assert details(stale.value)["ErrorInfo"].reason == "VERSION_MOVED"

    stub.DeleteImage(pb.DeleteImageRequest(name=name, etag=updated.etag))
    with pytest.raises(grpc.RpcError) as gone:
        stub.GetImage(pb.GetImageRequest(name=name))
    assert gone.value.code() == grpc.StatusCode.NOT_FOUND


def test_pages(stub, photo, new_id):
    label = uuid.uuid4().hex
    ids = sorted(new_id("page") for _ in range(5))
    for image_id in ids:
        stub.CreateImage(
            pb.CreateImageRequest(image_id=image_id, image=pb.Image(labels={"run": label}), content=photo)
        )
    seen, request = [], pb.ListImagesRequest(page_size=2, filter=f'labels.run = "{label}"')
    while True:
        page = stub.ListImages(request)
        assert len(page.images) <= 2
        seen += [image.name for image in page.images]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == [f"images/{image_id}" for image_id in ids]


def test_large_up_in_chunks_and_down_in_chunks(stub, large, new_id):
    image_id = new_id("large")
    digest = hashlib.sha256(large).hexdigest()
    answer = upload(stub, image_id, large, checksums=pb.ImageChecksums(sha256=digest), size_bytes=len(large))
    assert answer.created and answer.image.sha256 == digest and answer.image.size_bytes == len(large)

    hasher, position = hashlib.sha256(), 0
    stream = stub.DownloadImage(pb.DownloadImageRequest(name=f"images/{image_id}"), timeout=120)
    for number, message in enumerate(stream):
        assert message.HasField("image") == message.HasField("content_range") == (number == 0)
        if number == 0:
            assert message.image == answer.image
            assert (message.content_range.start, message.content_range.end) == (0, len(large))
            assert message.content_range.complete_length == len(large)
        hasher.update(message.chunk.data)
        position += len(message.chunk.data)
    assert position == len(large)
    assert hasher.hexdigest() == digest


@pytest.mark.parametrize(("offset", "limit"), [(0, 1), (1000, 5000), (-700, 0), (-700, 100), (12, 0)])
def test_ranges(stub, photo, new_id, offset, limit):
    image_id = new_id("range")
    upload(stub, image_id, photo, chunk_crc=True)
    start = offset if offset >= 0 else len(photo) + offset
    wanted = photo[start : start + limit if limit else None]
    request = pb.DownloadImageRequest(name=f"images/{image_id}", read_offset=offset, read_limit=limit)
    messages = list(stub.DownloadImage(request))
    assert b"".join(message.chunk.data for message in messages) == wanted
    content_range = messages[0].content_range
    assert (content_range.start, content_range.end) == (start, start + len(wanted))
    assert content_range.complete_length == len(photo)
    for message in messages:
        if message.chunk.HasField("crc32c"):
            assert message.chunk.crc32c == crc32c(message.chunk.data)


def test_range_beyond_the_end(stub, photo, new_id):
    image_id = new_id("range")
    upload(stub, image_id, photo)
    request = pb.DownloadImageRequest(name=f"images/{image_id}", read_offset=len(photo) + 1)
    with pytest.raises(grpc.RpcError) as error:
        list(stub.DownloadImage(request))
    assert error.value.code() == grpc.StatusCode.OUT_OF_RANGE
    assert details(error.value)["ErrorInfo"].reason == "OUT_OF_RANGE"


def test_many_images_over_one_stream_with_one_missing(stub, photo, new_id):
    first, last = new_id("many"), new_id("many")
    upload(stub, first, photo)
    upload(stub, last, photo)
    names = [f"images/{first}", f"images/{new_id('missing')}", f"images/{last}"]
    bodies, errors, ended = {}, {}, set()
    for message in stub.DownloadImages(iter(pb.DownloadImagesRequest(name=name) for name in names)):
        assert message.index not in ended, "an item after its last"
        if message.WhichOneof("item") == "error":
            errors[message.index] = message.error
            ended.add(message.index)
        else:
            bodies[message.index] = bodies.get(message.index, b"") + message.part.chunk.data
            if message.last:
                ended.add(message.index)
    assert bodies == {0: photo, 2: photo}
    assert set(errors) == {1} and ended == {0, 1, 2}
    assert errors[1].code == grpc.StatusCode.NOT_FOUND.value[0]
    assert any(detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR) for detail in errors[1].details)


def test_the_bidirectional_stream_answers_before_it_ends(stub, photo, new_id):
    image_id = new_id("bidi")
    upload(stub, image_id, photo)
    name, answered = f"images/{image_id}", threading.Event()

    def requests():
        yield pb.DownloadImagesRequest(name=name, read_limit=10)
        assert answered.wait(30), "no answer to the first request while the stream is open"
        yield pb.DownloadImagesRequest(name=name, read_limit=20)

    lengths = {}
    for message in stub.DownloadImages(requests(), timeout=30):
        answered.set()
        lengths[message.index] = lengths.get(message.index, 0) + len(message.part.chunk.data)
    assert lengths == {0: 10, 1: 20}


def test_missing_image_has_typed_details(stub, new_id):
    name = f"images/{new_id('missing')}"
    with pytest.raises(grpc.RpcError) as error:
        stub.GetImage(pb.GetImageRequest(name=name))
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    found = details(error.value)
    assert found["ErrorInfo"].reason == "NOT_FOUND"
    assert found["ResourceInfo"].resource_name == name


def test_bad_id_names_the_field(stub, photo):
    for bad in ["..", "a/b", "-x", "x" * 129, "a..b", "a\0b"]:
        with pytest.raises(grpc.RpcError) as error:
            stub.CreateImage(pb.CreateImageRequest(image_id=bad, content=photo))
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT, bad
        violations = details(error.value)["BadRequest"].field_violations
        assert [violation.field for violation in violations] == ["image_id"], bad


def test_no_image_and_a_type_that_lies(stub, photo, new_id):
    for content, image, reason in [
        (b"this is no image, whatever it says", pb.Image(), "NOT_AN_IMAGE"),
        (b"", pb.Image(), "NOT_AN_IMAGE"),
        (photo, pb.Image(media_type="image/gif"), "TYPE_MISMATCH"),
    ]:
        image_id = new_id("bad")
        with pytest.raises(grpc.RpcError) as error:
            stub.CreateImage(pb.CreateImageRequest(image_id=image_id, image=image, content=content))
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert details(error.value)["ErrorInfo"].reason == reason
        with pytest.raises(grpc.RpcError) as gone:
            stub.GetImage(pb.GetImageRequest(name=f"images/{image_id}"))
        assert gone.value.code() == grpc.StatusCode.NOT_FOUND


def test_name_taken_and_retry_by_request_id(stub, photo, new_id):
    image_id, request_id = new_id("twice"), str(uuid.uuid4())
    first = stub.CreateImage(pb.CreateImageRequest(image_id=image_id, content=photo, request_id=request_id))
    again = stub.CreateImage(pb.CreateImageRequest(image_id=image_id, content=photo, request_id=request_id))
    assert again == first
    with pytest.raises(grpc.RpcError) as error:
        stub.CreateImage(pb.CreateImageRequest(image_id=image_id, content=photo))
    assert error.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert details(error.value)["ErrorInfo"].reason == "ALREADY_EXISTS"


@pytest.mark.parametrize("wrong", ["sha256", "crc32c", "no finish_write", "chunk crc32c", "gap"])
def test_an_upload_that_is_not_whole_publishes_nothing(stub, photo, new_id, wrong):
    image_id = new_id("broken")
    checksums, code, reason = None, grpc.StatusCode.INVALID_ARGUMENT, "CHECKSUM_MISMATCH"
    with pytest.raises(grpc.RpcError) as error:
        if wrong == "sha256":
            upload(stub, image_id, photo, checksums=pb.ImageChecksums(sha256="0" * 64))
        elif wrong == "crc32c":
            upload(stub, image_id, photo, checksums=pb.ImageChecksums(crc32c=crc32c(photo) ^ 1))
        elif wrong == "no finish_write":
            code, reason = grpc.StatusCode.ABORTED, "CUT_OFF"
            upload(stub, image_id, photo, finish=False)
        elif wrong == "chunk crc32c":
            chunk = pb.ChecksummedData(data=photo, crc32c=crc32c(photo) ^ 1)
            messages = [pb.UploadImageRequest(spec=pb.UploadSpec(image_id=image_id), chunk=chunk, finish_write=True)]
            stub.UploadImage(iter(messages))
        else:
            reason = "INVALID_REQUEST"
            messages = [
                pb.UploadImageRequest(spec=pb.UploadSpec(image_id=image_id)),
                pb.UploadImageRequest(chunk=pb.ChecksummedData(data=photo[:100])),
                pb.UploadImageRequest(write_offset=101, chunk=pb.ChecksummedData(data=photo[101:]), finish_write=True),
            ]
            stub.UploadImage(iter(messages))
    assert error.value.code() == code, error.value.details()
    assert details(error.value)["ErrorInfo"].reason == reason
    with pytest.raises(grpc.RpcError) as gone:
        stub.GetImage(pb.GetImageRequest(name=f"images/{image_id}"))
    assert gone.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("service", ["", SERVICE])
def test_health(channel, service):
    health = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service)
    serving = health_pb2.HealthCheckResponse.SERVING
    assert health.Check(request).status == serving
    watch = health.Watch(request, timeout=10)
    assert next(watch).status == serving
    watch.cancel()


def test_health_of_a_service_that_is_not_there(channel):
    health = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="no.such.Service")
    with pytest.raises(grpc.RpcError) as error:
        health.Check(request)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_an_unknown_method(channel):
    call = channel.unary_unary(f"/{SERVICE}/NoSuchMethod")
    with pytest.raises(grpc.RpcError) as error:
        call(b"")
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_the_request_id_comes_back(stub):
    wanted = str(uuid.uuid4())
    _, call = stub.ListImages.with_call(pb.ListImagesRequest(), metadata=[("x-request-id", wanted)])
    assert dict(call.initial_metadata())["x-request-id"] == wanted
    _, call = stub.ListImages.with_call(pb.ListImagesRequest())
    assert dict(call.initial_metadata())["x-request-id"]
    with pytest.raises(grpc.RpcError) as error:
        stub.GetImage(pb.GetImageRequest(name="images/never-there"), metadata=[("x-request-id", wanted)])
    metadata = list(error.value.initial_metadata() or []) + list(error.value.trailing_metadata() or [])
    assert ("x-request-id", wanted) in [(entry.key, entry.value) for entry in metadata]


def test_a_deadline_that_cannot_be_met(stub, large, new_id):
    image_id, released = new_id("late"), threading.Event()
    with pytest.raises(grpc.RpcError) as error:

        def slowly():
            yield pb.UploadImageRequest(spec=pb.UploadSpec(image_id=image_id))
            yield pb.UploadImageRequest(chunk=pb.ChecksummedData(data=large[:CHUNK]))
            released.wait(30)
        try:
            stub.UploadImage(slowly(), timeout=0.5)
        finally:
            released.set()
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
