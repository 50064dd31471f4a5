// The grpc++ server: plain, with messages made for each call; or zero-copy by hand, with slices of the images in
// memory that grpc++ only refers to.
#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "peer.grpc.pb.h"

using namespace wirephoto::v1;

namespace {

constexpr size_t kChunk = 1 << 20;
std::map<std::string, std::string> images;
std::map<std::string, std::vector<grpc::ByteBuffer>> encoded;

class Plain final : public ImageService::Service {
  grpc::Status DownloadImage(grpc::ServerContext*, const DownloadImageRequest* request,
                             grpc::ServerWriter<DownloadImageResponse>* writer) override {
    auto image = images.find(request->name());
    if (image == images.end()) return {grpc::StatusCode::NOT_FOUND, request->name()};
    const std::string& bytes = image->second;
    for (size_t at = 0; at < bytes.size(); at += kChunk) {
      DownloadImageResponse message;
      message.mutable_chunk()->set_data(bytes.data() + at, std::min(kChunk, bytes.size() - at));
      if (!writer->Write(message)) break;
    }
    return grpc::Status::OK;
  }

  grpc::Status UploadImage(grpc::ServerContext*, grpc::ServerReader<UploadImageRequest>* reader,
                           UploadImageResponse* response) override {
    int64_t size = 0;
    UploadImageRequest message;
    while (reader->Read(&message)) size += message.chunk().data().size();
    response->mutable_image()->set_size_bytes(size);
    return grpc::Status::OK;
  }
};

class Writer final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit Writer(const std::vector<grpc::ByteBuffer>* messages) : messages_(messages) { Next(); }
  void OnWriteDone(bool ok) override { ok ? Next() : Finish(grpc::Status::CANCELLED); }
  void OnDone() override { delete this; }

 private:
  void Next() {
    if (at_ == messages_->size()) return Finish(grpc::Status::OK);
    // A write takes the buffer it is given: a copy of it refers to the same slices.
    message_ = (*messages_)[at_++];
    StartWrite(&message_);
  }
  const std::vector<grpc::ByteBuffer>* messages_;
  size_t at_ = 0;
  grpc::ByteBuffer message_;
};

class Reader final : public grpc::ServerReadReactor<grpc::ByteBuffer> {
 public:
  explicit Reader(grpc::ByteBuffer* response) : response_(response) { StartRead(&message_); }
  void OnReadDone(bool ok) override {
    if (ok) {
      size_ += Payload(message_);
      return StartRead(&message_);
    }
    UploadImageResponse response;
    response.mutable_image()->set_size_bytes(size_);
    std::string bytes = response.SerializeAsString();
    grpc::Slice slice(bytes);
    *response_ = grpc::ByteBuffer(&slice, 1);
    Finish(grpc::Status::OK);
  }
  void OnDone() override { delete this; }

 private:
  // Bytes of the image in a message, read from the few bytes before them: the fields `spec`, `write_offset` and
  // `chunk` with `data` inside.
  static int64_t Payload(const grpc::ByteBuffer& message) {
    std::vector<grpc::Slice> slices;
    if (!message.Dump(&slices).ok()) return 0;
    std::string head;
    for (const grpc::Slice& slice : slices) {
      head.append(reinterpret_cast<const char*>(slice.begin()), std::min<size_t>(slice.size(), 256 - head.size()));
      if (head.size() == 256) break;
    }
    size_t at = 0;
    auto number = [&] {
      uint64_t value = 0;
      for (int shift = 0; at < head.size(); shift += 7) {
        uint8_t byte = head[at++];
        value |= uint64_t(byte & 0x7f) << shift;
        if (byte < 0x80) break;
      }
      return value;
    };
    while (at < head.size()) {
      uint64_t tag = number();
      uint64_t value = number();
      if (tag == (3 << 3 | 2)) {
        number();
        return number();
      }
      if ((tag & 7) == 2) at += value;
    }
    return 0;
  }

  grpc::ByteBuffer* response_;
  grpc::ByteBuffer message_;
  int64_t size_ = 0;
};

using RawService = ImageService::WithRawCallbackMethod_DownloadImage<
    ImageService::WithRawCallbackMethod_UploadImage<ImageService::Service>>;

class ZeroCopy final : public RawService {
  grpc::ServerWriteReactor<grpc::ByteBuffer>* DownloadImage(grpc::CallbackServerContext*,
                                                            const grpc::ByteBuffer* buffer) override {
    DownloadImageRequest request;
    std::vector<grpc::Slice> slices;
    std::string bytes;
    if (buffer->Dump(&slices).ok()) {
      for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
    request.ParseFromString(bytes);
    return new Writer(&encoded[request.name()]);
  }
  grpc::ServerReadReactor<grpc::ByteBuffer>* UploadImage(grpc::CallbackServerContext*,
                                                         grpc::ByteBuffer* response) override {
    return new Reader(response);
  }
};

void AppendVarint(uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7) out->push_back(char(value | 0x80));
  out->push_back(char(value));
}

// A message as a small head and a slice that refers to the image.
grpc::ByteBuffer Encode(const char* data, size_t size) {
  std::string chunk(1, char(1 << 3 | 2));
  AppendVarint(size, &chunk);
  std::string head(1, char(3 << 3 | 2));
  AppendVarint(chunk.size() + size, &head);
  head += chunk;
  grpc::Slice slices[] = {grpc::Slice(head), grpc::Slice(data, size, grpc::Slice::STATIC_SLICE)};
  return grpc::ByteBuffer(slices, 2);
}

}  // namespace

int main(int, char** argv) {
  for (const auto& entry : std::filesystem::directory_iterator(argv[2])) {
    std::ifstream file(entry.path(), std::ios::binary);
    std::string& image = images["images/" + entry.path().filename().string()];
    image.assign(std::istreambuf_iterator<char>(file), {});
    std::vector<grpc::ByteBuffer>& messages = encoded["images/" + entry.path().filename().string()];
    for (size_t at = 0; at < image.size(); at += kChunk) {
      messages.push_back(Encode(image.data() + at, std::min(kChunk, image.size() - at)));
    }
  }
  std::unique_ptr<grpc::Service> service;
  if (std::string(argv[3]) == "tuned") {
    service = std::make_unique<ZeroCopy>();
  } else {
    service = std::make_unique<Plain>();
  }
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::string(argv[1]), grpc::InsecureServerCredentials());
  builder.SetMaxReceiveMessageSize(16 << 20);
  builder.RegisterService(service.get());
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server) return 1;
  server->Wait();
}
