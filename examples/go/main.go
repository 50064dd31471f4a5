// Puts a photograph, lists it, gets it back and compares: go run . PHOTO [HOST:PORT]
//
// The stubs in gen/ come from `buf generate ../../proto --path ../../proto/wirephoto`.
package main

import (
	"bytes"
	"context"
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

	photo, err := os.ReadFile(os.Args[1])
	check(err)
	created, err := images.CreateImage(ctx, &pb.CreateImageRequest{Content: photo})
	check(err)
	name := created.Image.Name

	list, err := images.ListImages(ctx, &pb.ListImagesRequest{Filter: fmt.Sprintf("name = %q", name)})
	check(err)
	for _, image := range list.Images {
		fmt.Printf("%s %s %dx%d, %d bytes\n", image.Name, image.MediaType, image.Width, image.Height, image.SizeBytes)
	}

	download, err := images.DownloadImage(ctx, &pb.DownloadImageRequest{Name: name})
	check(err)
	var back bytes.Buffer
	message, err := download.Recv()
	for ; err == nil; message, err = download.Recv() {
		back.Write(message.GetChunk().GetData())
	}
	if !errors.Is(err, io.EOF) {
		check(err)
	}
	fmt.Println("same bytes:", bytes.Equal(photo, back.Bytes()))

	_, err = images.DeleteImage(ctx, &pb.DeleteImageRequest{Name: name})
	check(err)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
