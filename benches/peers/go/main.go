// The grpc-go server: plain, as its tutorial leads to; or tuned, with bodies encoded beforehand, a large write
// buffer and large windows.
package main

import (
	"context"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"peer/pb"
)

const chunk = 1 << 20

type peer struct {
	pb.UnimplementedImageServiceServer
	images  map[string][]byte
	encoded map[string][]encoded // of the tuned server
}

// A message as it goes onto the wire.
type encoded []byte

// encodedCodec passes what is encoded and leaves the rest to the usual one.
type encodedCodec struct{ encoding.CodecV2 }

func (codec encodedCodec) Marshal(message any) (mem.BufferSlice, error) {
	if bytes, ok := message.(encoded); ok {
		return mem.BufferSlice{mem.SliceBuffer(bytes)}, nil
	}
	return codec.CodecV2.Marshal(message)
}

func messages(image []byte) []*pb.DownloadImageResponse {
	var all []*pb.DownloadImageResponse
	for at := 0; at < len(image); at += chunk {
		data := image[at:min(at+chunk, len(image))]
		all = append(all, &pb.DownloadImageResponse{Chunk: &pb.ChecksummedData{Data: data}})
	}
	return all
}

func (p *peer) DownloadImage(request *pb.DownloadImageRequest, stream pb.ImageService_DownloadImageServer) error {
	for _, message := range p.encoded[request.Name] {
		if err := stream.(grpc.ServerStream).SendMsg(message); err != nil {
			return err
		}
	}
	if p.encoded != nil {
		return nil
	}
	for _, message := range messages(p.images[request.Name]) {
		if err := stream.Send(message); err != nil {
			return err
		}
	}
	return nil
}

func (p *peer) UploadImage(stream pb.ImageService_UploadImageServer) error {
	var size int64
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return stream.SendAndClose(&pb.UploadImageResponse{Image: &pb.Image{SizeBytes: size}})
		} else if err != nil {
			return err
		}
		size += int64(len(message.GetChunk().GetData()))
	}
}

func main() {
	port, dir, mode := os.Args[1], os.Args[2], os.Args[3]
	p := &peer{images: map[string][]byte{}}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		log.Fatal(err)
	}
	for _, file := range files {
		if p.images["images/"+filepath.Base(file)], err = os.ReadFile(file); err != nil {
			log.Fatal(err)
		}
	}
	options := []grpc.ServerOption{grpc.MaxRecvMsgSize(16 << 20)}
	if mode == "tuned" {
		p.encoded = map[string][]encoded{}
		for name, image := range p.images {
			for _, message := range messages(image) {
				bytes, err := proto.Marshal(message)
				if err != nil {
					log.Fatal(err)
				}
				p.encoded[name] = append(p.encoded[name], bytes)
			}
		}
		codec := encodedCodec{encoding.GetCodecV2("proto")}
		options = append(options, grpc.ForceServerCodecV2(codec), grpc.WriteBufferSize(1<<20),
			grpc.InitialWindowSize(16<<20), grpc.InitialConnWindowSize(64<<20))
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(options...)
	pb.RegisterImageServiceServer(server, p)
	log.Fatal(server.Serve(listener))
}
