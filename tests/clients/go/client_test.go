// Package clienttest runs Go's own grpc against a server that is running at WIREPHOTO_URL, with the files
// WIREPHOTO_PHOTO (at most 4 MiB) and WIREPHOTO_LARGE (about 60 MB).
package clienttest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "wirephoto.example/clienttest/gen/wirephoto/v1"
)

const (
	service = "wirephoto.v1.ImageService"
	chunk   = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func required(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set", name)
	}
	return value
}

func content(t *testing.T, name string) []byte {
	t.Helper()
	bytes, err := os.ReadFile(required(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

func dial(t *testing.T, options ...grpc.CallOption) *grpc.ClientConn {
	t.Helper()
	return dialWith(t, nil, options...)
}

func dialWith(t *testing.T, more []grpc.DialOption, options ...grpc.CallOption) *grpc.ClientConn {
	t.Helper()
	address, err := url.Parse(required(t, "WIREPHOTO_URL"))
	if err != nil {
		t.Fatal(err)
	}
	options = append(options, grpc.MaxCallRecvMsgSize(9<<20))
	conn, err := grpc.NewClient(address.Host, append(more,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(options...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// newID makes an id nobody else uses; its image is deleted when the test ends.
func newID(t *testing.T, client pb.ImageServiceClient) string {
	t.Helper()
	id := "go-" + rand.Text()
	t.Cleanup(func() {
		request := &pb.DeleteImageRequest{Name: "images/" + id, AllowMissing: true}
		if _, err := client.DeleteImage(context.Background(), request); err != nil {
			t.Errorf("deleting images/%s: %v", id, err)
		}
	})
	return id
}

func upload(t *testing.T, client pb.ImageServiceClient, id string, data []byte) *pb.UploadImageResponse {
	t.Helper()
	stream, err := client.UploadImage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	messages := []*pb.UploadImageRequest{{Spec: &pb.UploadSpec{ImageId: id, SizeBytes: proto.Int64(int64(len(data)))}}}
	for offset := 0; offset < len(data); offset += chunk {
		piece := data[offset:min(offset+chunk, len(data))]
		messages = append(messages, &pb.UploadImageRequest{
			WriteOffset: int64(offset),
			Chunk:       &pb.ChecksummedData{Data: piece, Crc32C: proto.Uint32(crc32.Checksum(piece, castagnoli))},
		})
	}
	messages = append(messages, &pb.UploadImageRequest{
		WriteOffset: int64(len(data)),
		FinishWrite: true,
		Checksums:   &pb.ImageChecksums{Sha256: hex.EncodeToString(sum[:])},
	})
	for _, message := range messages {
		// An EOF says that the server has answered already; CloseAndRecv tells what.
		if err := stream.Send(message); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	answer, err := stream.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func download(t *testing.T, client pb.ImageServiceClient, request *pb.DownloadImageRequest) []byte {
	t.Helper()
	stream, err := client.DownloadImage(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	var body bytes.Buffer
	for first := true; ; first = false {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return body.Bytes()
		} else if err != nil {
			t.Fatal(err)
		}
		if first != (message.Image != nil) || first != (message.ContentRange != nil) {
			t.Fatalf("image and content_range belong into the first message, and only there")
		}
		if message.Chunk == nil {
			continue
		}
		data, sum := message.Chunk.Data, message.Chunk.Crc32C
		if sum != nil && *sum != crc32.Checksum(data, castagnoli) {
			t.Fatalf("crc32c of a chunk at %d does not match", body.Len())
		}
		body.Write(data)
	}
}

func TestCreateGetDelete(t *testing.T) {
	client := pb.NewImageServiceClient(dial(t))
	photo, id := content(t, "WIREPHOTO_PHOTO"), newID(t, client)
	created, err := client.CreateImage(t.Context(), &pb.CreateImageRequest{
		ImageId: id, Content: photo, Image: &pb.Image{DisplayName: "A photograph"}, RequestId: rand.Text(),
	})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(photo)
	if created.Image.Sha256 != hex.EncodeToString(sum[:]) || created.Image.Crc32C != crc32.Checksum(photo, castagnoli) {
		t.Fatalf("checksums of %v", created.Image)
	}
	got, err := client.GetImage(t.Context(), &pb.GetImageRequest{Name: "images/" + id})
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got.Image, created.Image) {
		t.Fatalf("got %v, created %v", got.Image, created.Image)
	}
	if body := download(t, client, &pb.DownloadImageRequest{Name: "images/" + id}); !bytes.Equal(body, photo) {
		t.Fatalf("downloaded %d other bytes", len(body))
	}
	_, err = client.CreateImage(t.Context(), &pb.CreateImageRequest{ImageId: id, Content: photo})
	if status.Code(err) != codes.AlreadyExists {
		t.Fatalf("a second create: %v", err)
	}
}

func TestLargeBothWays(t *testing.T) {
	client := pb.NewImageServiceClient(dial(t))
	large, id := content(t, "WIREPHOTO_LARGE"), newID(t, client)
	answer := upload(t, client, id, large)
	if !answer.Created || answer.Image.SizeBytes != int64(len(large)) {
		t.Fatalf("answered %v", answer)
	}
	if body := download(t, client, &pb.DownloadImageRequest{Name: "images/" + id}); !bytes.Equal(body, large) {
		t.Fatalf("downloaded %d other bytes", len(body))
	}
	ranged := &pb.DownloadImageRequest{Name: "images/" + id, ReadOffset: 30_000_000, ReadLimit: 3_000_001}
	if body := download(t, client, ranged); !bytes.Equal(body, large[30_000_000:33_000_001]) {
		t.Fatalf("range: %d other bytes", len(body))
	}
	tail := &pb.DownloadImageRequest{Name: "images/" + id, ReadOffset: -1000}
	if body := download(t, client, tail); !bytes.Equal(body, large[len(large)-1000:]) {
		t.Fatalf("tail: %d other bytes", len(body))
	}
}

func TestManyOverOneStream(t *testing.T) {
	client := pb.NewImageServiceClient(dial(t))
	photo, there := content(t, "WIREPHOTO_PHOTO"), newID(t, client)
	upload(t, client, there, photo)
	stream, err := client.DownloadImages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{there, newID(t, client), there} {
		if err := stream.Send(&pb.DownloadImagesRequest{Name: "images/" + id}); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	bodies := map[int64][]byte{}
	var missing []string
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if failure := message.GetError(); failure != nil {
			missing = append(missing, fmt.Sprint(message.Index, " ", codes.Code(failure.Code)))
			continue
		}
		bodies[message.Index] = append(bodies[message.Index], message.GetPart().GetChunk().GetData()...)
	}
	if len(missing) != 1 || missing[0] != "1 NotFound" {
		t.Fatalf("missing: %v", missing)
	}
	if len(bodies) != 2 || !bytes.Equal(bodies[0], photo) || !bytes.Equal(bodies[2], photo) {
		t.Fatalf("%d bodies, or other bytes", len(bodies))
	}
}

func TestErrorsHaveDetails(t *testing.T) {
	client := pb.NewImageServiceClient(dial(t))
	var header metadata.MD
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "go-asks")
	_, err := client.GetImage(ctx, &pb.GetImageRequest{Name: "images/never-there"}, grpc.Header(&header))
	failure := status.Convert(err)
	if failure.Code() != codes.NotFound {
		t.Fatal(err)
	}
	reasons := map[string]string{}
	for _, detail := range failure.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			reasons["ErrorInfo"] = detail.Domain + "/" + detail.Reason
		case *errdetails.ResourceInfo:
			reasons["ResourceInfo"] = detail.ResourceName
		}
	}
	if reasons["ErrorInfo"] != "wirephoto/NOT_FOUND" || reasons["ResourceInfo"] != "images/never-there" {
		t.Fatalf("details: %v", failure.Details())
	}
	_, err = client.ListImages(t.Context(), &pb.ListImagesRequest{PageToken: "garbage"})
	if status.Code(err) != codes.InvalidArgument {
		t.Fatalf("a garbage page token: %v", err)
	}
}

func TestDeadline(t *testing.T) {
	client := pb.NewImageServiceClient(dial(t))
	id := newID(t, client)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	stream, err := client.UploadImage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.UploadImageRequest{Spec: &pb.UploadSpec{ImageId: id}}); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if _, err := stream.CloseAndRecv(); status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("an upload past its deadline: %v", err)
	}
}

// connections counts how many were opened, and how many ended.
type connections struct {
	begun, ended atomic.Int32
}

func (*connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*connections) HandleRPC(context.Context, stats.RPCStats)                         {}
func (*connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (c *connections) HandleConn(_ context.Context, event stats.ConnStats) {
	switch event.(type) {
	case *stats.ConnBegin:
		c.begun.Add(1)
	case *stats.ConnEnd:
		c.ended.Add(1)
	}
}

// Pings as often as Go allows, without a call: a server that minds ends the connection at the third.
func TestKeepaliveIsNotMinded(t *testing.T) {
	t.Parallel()
	seen := &connections{}
	parameters := keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true}
	client := pb.NewImageServiceClient(dialWith(t, []grpc.DialOption{
		grpc.WithKeepaliveParams(parameters), grpc.WithStatsHandler(seen), grpc.WithIdleTimeout(0),
	}))
	list := func() {
		if _, err := client.ListImages(t.Context(), &pb.ListImagesRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	list()
	time.Sleep(45 * time.Second)
	list()
	if begun, ended := seen.begun.Load(), seen.ended.Load(); begun != 1 || ended != 0 {
		t.Fatalf("%d connections were opened, %d ended", begun, ended)
	}
}

// Go compresses its requests with gzip when told to; the server must take them or say what it takes instead.
func TestCompressedRequest(t *testing.T) {
	client := pb.NewImageServiceClient(dial(t, grpc.UseCompressor(gzip.Name)))
	_, err := client.ListImages(t.Context(), &pb.ListImagesRequest{})
	if code := status.Code(err); code != codes.OK && code != codes.Unimplemented {
		t.Fatalf("a gzipped request: %v", err)
	}
}

func TestHealth(t *testing.T) {
	client := grpc_health_v1.NewHealthClient(dial(t))
	for _, name := range []string{"", service} {
		answer, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: name})
		if err != nil {
			t.Fatal(err)
		}
		if answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Fatalf("%q is %v", name, answer.Status)
		}
	}
}

func TestReflectionV1(t *testing.T) {
	stream, err := reflection.NewServerReflectionClient(dial(t)).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	request := &reflection.ServerReflectionRequest{
		MessageRequest: &reflection.ServerReflectionRequest_ListServices{},
	}
	if err := stream.Send(request); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range answer.GetListServicesResponse().GetService() {
		if found.Name == service {
			return
		}
	}
	t.Fatalf("%s is not among %v", service, answer)
}
