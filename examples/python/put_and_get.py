"""Puts a photograph, lists it, gets it back and compares. In this folder:

python3 -m venv gen/venv && . gen/venv/bin/activate
pip install grpcio grpcio-tools googleapis-common-protos
python -m grpc_tools.protoc -I ../../proto --python_out=gen --grpc_python_out=gen ../../proto/wirephoto/v1/*.proto
PYTHONPATH=gen python put_and_get.py PHOTO [HOST:PORT]
"""

import hashlib
import sys

import grpc

from wirephoto.v1 import image_service_pb2 as pb
from wirephoto.v1.image_service_pb2_grpc import ImageServiceStub

server = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:8080"
sent, back = hashlib.sha256(), hashlib.sha256()


def upload(photo):
    yield pb.UploadImageRequest(spec=pb.UploadSpec())
    offset = 0
    while data := photo.read(1 << 20):
        sent.update(data)
        yield pb.UploadImageRequest(write_offset=offset, chunk=pb.ChecksummedData(data=data))
        offset += len(data)
    yield pb.UploadImageRequest(write_offset=offset, finish_write=True)


with open(sys.argv[1], "rb") as photo, grpc.insecure_channel(server) as channel:
    images = ImageServiceStub(channel)
    name = images.UploadImage(upload(photo)).image.name
    for image in images.ListImages(pb.ListImagesRequest(filter=f'name = "{name}"')).images:
        print(f"{image.name} {image.media_type} {image.width}x{image.height}, {image.size_bytes} bytes")
    for part in images.DownloadImage(pb.DownloadImageRequest(name=name)):
        back.update(part.chunk.data)
    print("same bytes:", "true" if back.digest() == sent.digest() else "false")
    images.DeleteImage(pb.DeleteImageRequest(name=name))
