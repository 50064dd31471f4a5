"""Puts a photograph, lists it, gets it back and compares: python put_and_get.py PHOTO [HOST:PORT]

The stubs come from: python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. proto/wirephoto/v1/*.proto
"""

import pathlib
import sys

import grpc

from wirephoto.v1 import image_service_pb2 as pb
from wirephoto.v1.image_service_pb2_grpc import ImageServiceStub

photo = pathlib.Path(sys.argv[1]).read_bytes()
server = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:8080"

with grpc.insecure_channel(server, options=[("grpc.max_receive_message_length", 8 << 20)]) as channel:
    images = ImageServiceStub(channel)
    name = images.CreateImage(pb.CreateImageRequest(content=photo)).image.name
    for image in images.ListImages(pb.ListImagesRequest(filter=f'name = "{name}"')).images:
        print(f"{image.name} {image.media_type} {image.width}x{image.height}, {image.size_bytes} bytes")
    back = b"".join(part.chunk.data for part in images.DownloadImage(pb.DownloadImageRequest(name=name)))
    print("same bytes:", "true" if back == photo else "false")
    images.DeleteImage(pb.DeleteImageRequest(name=name))
