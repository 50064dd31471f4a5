// Puts a photograph, lists it, gets it back and compares. In this folder:
//
//	go install github.com/bufbuild/buf/cmd/buf@v1.75.0
//	go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
//	go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
//	PATH=$PATH:$(go env GOPATH)/bin buf generate ../../proto --path ../../proto/wirephoto
//	go run . PHOTO [HOST:PORT]
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "wirephoto.example/putandget/gen/wirephoto/v1"
)

func main() {
	server := "127.0.0.1:8080"
	if len(os.Args) > 2 {
		server = os.Args[2]
	}
	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	images, ctx := pb.NewImageServiceClient(conn), context.Background()

	photo, err := os.Open(os.Args[1])
	check(err)
	sent, back := sha256.New(), sha256.New()
	upload, err := images.UploadImage(ctx)
	check(err)
	message, offset := &pb.UploadImageRequest{Spec: &pb.UploadSpec{}}, int64(0)
	// A Send that fails does not say why: CloseAndRecv does.
	for upload.Send(message) == nil && !message.FinishWrite {
		data := make([]byte, 1<<20)
		n, err := photo.Read(data)
		done := errors.Is(err, io.EOF)
		if !done {
			check(err)
		}
		sent.Write(data[:n])
		chunk := &pb.ChecksummedData{Data: data[:n]}
		message = &pb.UploadImageRequest{WriteOffset: offset, Chunk: chunk, FinishWrite: done}
		offset += int64(n)
	}
	uploaded, err := upload.CloseAndRecv()
	check(err)
	name := uploaded.Image.Name

	list, err := images.ListImages(ctx, &pb.ListImagesRequest{Filter: fmt.Sprintf("name = %q", name)})
	check(err)
	for _, image := range list.Images {
		fmt.Printf("%s %s %dx%d, %d bytes\n", image.Name, image.MediaType, image.Width, image.Height, image.SizeBytes)
	}

	download, err := images.DownloadImage(ctx, &pb.DownloadImageRequest{Name: name})
	check(err)
	part, err := download.Recv()
	for ; err == nil; part, err = download.Recv() {
		back.Write(part.GetChunk().GetData())
	}
	if !errors.Is(err, io.EOF) {
		check(err)
	}
	fmt.Println("same bytes:", bytes.Equal(sent.Sum(nil), back.Sum(nil)))

	_, err = images.DeleteImage(ctx, &pb.DeleteImageRequest{Name: name})
	check(err)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
