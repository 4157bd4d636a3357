// SPDX-License-Identifier: Apache-2.0
//
// What is generated of unusual names compiles, and its calls find their methods.
#include <memory>

#include "all_kinds.weft.h"
#include "gtest/gtest.h"
#include "keywords.weft.h"
#include "no_package.weft.h"
#include "weft/rpc/service/service_fixture.h"

namespace weft::rpc {
namespace {

namespace keywords = ::acme::names;

class Keywords final : public keywords::operatorService {
 public:
  Task<absl::Status> delete_(ServerContext&, const keywords::class_&,
                             keywords::class_::delete_* response) override {
    response->set_int_(17);
    co_return absl::OkStatus();
  }
  Task<absl::Status> Find(ServerContext&, const keywords::Service& request,
                          keywords::Service* response) override {
    response->set_number(request.number() + 1);
    co_return absl::OkStatus();
  }
};

class Doubler final : public PlainService {
 public:
  Task<absl::Status> Double(ServerContext&, const PlainRequest& request,
                            PlainResponse* response) override {
    response->set_number(2 * request.number());
    co_return absl::OkStatus();
  }
};

class CompiledTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = net_.Serve("server", {&keywords_, &doubler_});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    client_ = net_.MakeClient("client");
    channel_ = std::make_unique<Channel>(*client_, *client_->Resolve(Address::Sim("server")));
  }

  ServiceFixture net_;
  Keywords keywords_;
  Doubler doubler_;
  std::unique_ptr<ServiceServer> server_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Channel> channel_;
};

Task<absl::Status> Delete(Channel& channel, int* number) {
  keywords::operatorClient stub(channel);
  const keywords::class_ request;
  keywords::class_::delete_ response;
  absl::Status status = co_await stub.delete_(request, &response);
  *number = response.int_();
  co_return status;
}

TEST_F(CompiledTest, Keywords) {
  int number = 0;
  EXPECT_TRUE(net_.Run(Delete(*channel_, &number)).ok());
  EXPECT_EQ(number, 17);
}

Task<absl::Status> Find(Channel& channel, int* number) {
  keywords::operatorClient stub(channel);
  keywords::Service request;
  request.set_number(41);
  keywords::Service response;
  absl::Status status = co_await stub.Find(request, &response);
  *number = response.number();
  co_return status;
}

TEST_F(CompiledTest, AMessageCalledAsTheBaseOfServices) {
  int number = 0;
  EXPECT_TRUE(net_.Run(Find(*channel_, &number)).ok());
  EXPECT_EQ(number, 42);
}

Task<absl::Status> Double(Channel& channel, const PlainRequest& request, PlainResponse* response) {
  PlainClient stub(channel);
  co_return co_await stub.Double(request, response);
}

TEST_F(CompiledTest, NoPackage) {
  PlainRequest request;
  request.set_number(21);
  PlainResponse response;
  EXPECT_TRUE(net_.Run(Double(*channel_, request, &response)).ok());
  EXPECT_EQ(response.number(), 42);
}

// The server does not take it, whatever the client makes of it.
TEST_F(CompiledTest, ARequiredFieldThatIsMissing) {
  PlainResponse response;
  EXPECT_EQ(net_.Run(Double(*channel_, PlainRequest(), &response)).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(server_->stats().unparsable, 1u);
}

TEST_F(CompiledTest, AServiceWithoutMethods) {
  acme::store::v1::EmptyService empty;
  EXPECT_TRUE(net_.Serve("empty", {&empty}).ok());
}

}  // namespace
}  // namespace weft::rpc
