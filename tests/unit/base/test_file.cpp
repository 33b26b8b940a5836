// SPDX-License-Identifier: Apache-2.0
//
// What may be opened, read and published, and what is refused: each rule with the object that breaks it.
#define BOOST_TEST_DYN_LINK 1
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <csignal>
#include <ostream>

#include "base/file.hpp"
#include "unit/base/scratch.hpp"

namespace {

using namespace flashcore;
using boost::unit_test::precondition;
using scratch::Folder;

FileDescriptor opened(const std::string &path) {
  Result<FileDescriptor> directory = open_directory(path, DirectoryTrust::owned, IfMissing::leave);
  BOOST_REQUIRE_MESSAGE(directory.ok(), (directory.ok() ? "" : directory.error().message));
  return std::move(directory).value();
}

std::string text_of(const Result<std::optional<FileContents>> &read) {
  BOOST_REQUIRE_MESSAGE(read.ok(), (read.ok() ? "" : read.error().message));
  BOOST_REQUIRE(read.value().has_value());
  return std::string(read.value()->bytes.begin(), read.value()->bytes.end());
}

template <typename T>
void check_refused(const Result<T> &result, const std::string &part_of_message) {
  BOOST_REQUIRE(!result.ok());
  BOOST_TEST(result.error().status == FLASHCORE_IO_ERROR);
  BOOST_TEST_CONTEXT(result.error().message) {
    BOOST_TEST(result.error().message.find(part_of_message) != std::string::npos);
  }
}

std::span<const uint8_t> bytes_of(const std::string &text) {
  return std::span(reinterpret_cast<const uint8_t *>(text.data()), text.size());
}

Status publish(const FileDescriptor &directory, const std::string &name, const std::string &text,
               FileSharing sharing = FileSharing::owner_only) {
  return publish_file_at(directory, directory, name, bytes_of(text), sharing);
}

constexpr int64_t limit_bytes = 1 << 20;

}  // namespace

BOOST_AUTO_TEST_SUITE(directories)

BOOST_AUTO_TEST_CASE(missing_folder_is_no_error_and_is_not_made) {
  const Folder folder;
  const auto missing = open_directory(folder.path("a/b"), DirectoryTrust::owned, IfMissing::leave);
  BOOST_REQUIRE(missing.ok());
  BOOST_TEST(!missing.value());
  BOOST_TEST(!scratch::exists(folder.path("a")));
  const auto below = open_directory_at(missing.value(), "c", DirectoryTrust::owned, IfMissing::create_private);
  BOOST_REQUIRE(below.ok());
  BOOST_TEST(!below.value());
}

BOOST_AUTO_TEST_CASE(created_folders_have_the_asked_mode_with_all_their_parents) {
  const Folder folder;
  const mode_t before = umask(002);  // as on many Ubuntu systems: without care the folders would be open to a group
  const auto private_folder = open_directory(folder.path("a/b/c"), DirectoryTrust::owned, IfMissing::create_private);
  const auto shared_folder = open_directory(folder.path("x/y//"), DirectoryTrust::owned, IfMissing::create_shared);
  umask(before);
  BOOST_TEST(private_folder.ok());
  BOOST_TEST(shared_folder.ok());
  for (const char *name : {"a", "a/b", "a/b/c"}) BOOST_TEST(scratch::mode_of(folder.path(name)) == 0700u);
  for (const char *name : {"x", "x/y"}) BOOST_TEST(scratch::mode_of(folder.path(name)) == 0755u);
}

BOOST_DATA_TEST_CASE(folder_that_others_may_write_is_refused, boost::unit_test::data::make({0770, 0707, 0777, 01777}),
                     mode) {
  const Folder folder;
  BOOST_REQUIRE(chmod(folder.path().c_str(), static_cast<mode_t>(mode)) == 0);
  check_refused(open_directory(folder.path(), DirectoryTrust::owned, IfMissing::leave), "group or others may write");
  check_refused(open_directory(folder.path(), DirectoryTrust::readable, IfMissing::leave), "group or others may write");
}

BOOST_AUTO_TEST_CASE(symbolic_link_is_refused_even_with_slashes_behind_it) {
  const Folder folder;
  std::filesystem::create_directory(folder.path("real"));
  chmod(folder.path("real").c_str(), 0700);
  std::filesystem::create_symlink("real", folder.path("link"));
  std::filesystem::create_symlink("nowhere", folder.path("dangling"));
  for (const char *name : {"link", "link/", "link///", "dangling"})
    check_refused(open_directory(folder.path(name), DirectoryTrust::owned, IfMissing::create_private), "symbolic link");
  check_refused(open_directory_at(opened(folder.path()), "link", DirectoryTrust::owned, IfMissing::leave),
                "symbolic link");
}

BOOST_AUTO_TEST_CASE(file_in_place_of_a_folder_is_refused) {
  const Folder folder;
  scratch::write_file(folder.path("file"), "x");
  check_refused(open_directory(folder.path("file"), DirectoryTrust::owned, IfMissing::create_private),
                "could not be opened");
  check_refused(open_directory(folder.path("file/below"), DirectoryTrust::owned, IfMissing::create_private),
                "file/below");
}

BOOST_AUTO_TEST_CASE(foreign_folder_is_refused, *precondition(scratch::can_change_owner)) {
  const Folder folder;
  BOOST_REQUIRE(chown(folder.path().c_str(), scratch::nobody, scratch::nobody) == 0);
  check_refused(open_directory(folder.path(), DirectoryTrust::owned, IfMissing::leave), "belongs to user 65534");
  check_refused(open_directory(folder.path(), DirectoryTrust::readable, IfMissing::leave), "belongs to user 65534");
}

// A user may load modules from root's folders, and write to his own only.
BOOST_AUTO_TEST_CASE(folder_of_root_is_readable_but_not_owned, *precondition(scratch::can_change_owner)) {
  const Folder folder;
  BOOST_REQUIRE(chmod(folder.path().c_str(), 0755) == 0);
  BOOST_TEST(scratch::run_child([&] {
               if (!scratch::drop_privileges()) return 2;
               const bool readable = open_directory(folder.path(), DirectoryTrust::readable, IfMissing::leave).ok();
               const bool owned = open_directory(folder.path(), DirectoryTrust::owned, IfMissing::leave).ok();
               return readable && !owned ? 0 : 1;
             }) == 0);
}

// What lies beside a library may be as open as the library and its folder, and no more.
BOOST_AUTO_TEST_CASE(folder_is_trusted_as_much_as_the_library_beside_it) {
  struct Case {
    mode_t around, library, folder;
    bool trusted;
  };
  const Case cases[] = {{0755, 0644, 0755, true},  {0755, 0644, 0775, false},  {0775, 0644, 0775, true},
                        {0755, 0664, 0775, true},  {0775, 0664, 0777, false},  {0777, 0644, 0777, true},
                        {0755, 0666, 0777, true},  {01777, 0644, 0777, false}, {01777, 0644, 0775, false},
                        {01775, 0644, 0755, true}, {0777, 0644, 0775, true}};
  for (const Case &one : cases) {
    const Folder folder;
    scratch::write_file(folder.path("around/library.so"), "x", one.library);
    std::filesystem::create_directory(folder.path("around/modules"));
    scratch::write_file(folder.path("around/modules/file"), "text", one.folder & 0666);
    BOOST_REQUIRE(chmod(folder.path("around/modules").c_str(), one.folder) == 0);
    BOOST_REQUIRE(chmod(folder.path("around").c_str(), one.around) == 0);
    const DirectoryTrust trust = DirectoryTrust::beside(folder.path("around/library.so"));
    const auto opened_folder = open_directory(folder.path("around/modules"), trust, IfMissing::leave);
    BOOST_TEST_CONTEXT(std::oct << "around " << one.around << ", library " << one.library << ", folder "
                                << one.folder) {
      BOOST_TEST(opened_folder.ok() == one.trusted);
      if (opened_folder.ok())
        BOOST_TEST(text_of(read_file_at(opened_folder.value(), "file", trust, limit_bytes)) == "text");
    }
  }
  const Folder folder;
  chmod(folder.path().c_str(), 0775);
  check_refused(open_directory(folder.path(), DirectoryTrust::beside(folder.path("no library")), IfMissing::leave),
                "group or others");
  check_refused(open_directory(folder.path(), DirectoryTrust::beside("library.so"), IfMissing::leave),
                "wanted: only its owner may write");
}

BOOST_AUTO_TEST_CASE(owner_of_the_library_is_trusted_beside_it, *precondition(scratch::can_change_owner)) {
  const Folder folder;
  scratch::write_file(folder.path("library.so"), "x", 0644);
  std::filesystem::create_directory(folder.path("modules"));
  chmod(folder.path("modules").c_str(), 0755);
  BOOST_REQUIRE(chown(folder.path("modules").c_str(), scratch::nobody, scratch::nobody) == 0);
  const auto refusal = [&] {
    const auto opened_folder =
        open_directory(folder.path("modules"), DirectoryTrust::beside(folder.path("library.so")), IfMissing::leave);
    return opened_folder.ok() ? std::string() : opened_folder.error().message;
  };
  BOOST_TEST(refusal().find("it belongs to user 65534 (mode 0755); wanted: user " + std::to_string(geteuid())) !=
             std::string::npos);
  BOOST_REQUIRE(chown(folder.path("library.so").c_str(), scratch::nobody, scratch::nobody) == 0);
  BOOST_TEST(refusal() == "");
}

BOOST_AUTO_TEST_CASE(name_with_a_slash_never_leaves_its_folder) {
  const Folder folder;
  const FileDescriptor directory = opened(folder.path());
  for (const std::string &name : {std::string(".."), std::string("."), std::string("a/b"), std::string("/etc"),
                                  std::string(), std::string("a\0b", 3)}) {
    BOOST_TEST(!open_directory_at(directory, name, DirectoryTrust::readable, IfMissing::leave).ok());
    BOOST_TEST(!read_file_at(directory, name, DirectoryTrust::readable, limit_bytes).ok());
    BOOST_TEST(!publish(directory, name, "x").ok());
  }
}

BOOST_AUTO_TEST_CASE(listing_is_sorted_and_filtered) {
  const Folder folder;
  for (const char *name : {"b1", "a2", "b0", "c"}) scratch::write_file(folder.path(name), "x");
  const FileDescriptor directory = opened(folder.path());
  const std::vector<std::string> all{"a2", "b0", "b1", "c"}, some{"b0", "b1"};
  for (int again = 0; again < 2; ++again) {
    BOOST_TEST(list_directory(directory).value() == all, boost::test_tools::per_element());
    BOOST_TEST(list_directory(directory, "b").value() == some, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(reading)

BOOST_AUTO_TEST_CASE(whole_file_and_its_identity) {
  const Folder folder;
  scratch::write_file(folder.path("file"), "some bytes");
  scratch::write_file(folder.path("empty"), "");
  const FileDescriptor directory = opened(folder.path());
  const auto read = read_file_at(directory, "file", DirectoryTrust::owned, 10);
  BOOST_TEST(text_of(read) == "some bytes");
  BOOST_TEST(text_of(read_file_at(directory, "empty", DirectoryTrust::owned, 0)) == "");
  struct stat status {};
  BOOST_REQUIRE(stat(folder.path("file").c_str(), &status) == 0);
  BOOST_TEST(read.value()->inode == status.st_ino);
  BOOST_TEST(read.value()->modified_unix_seconds == status.st_mtim.tv_sec);
}

BOOST_AUTO_TEST_CASE(missing_file_is_no_error) {
  const Folder folder;
  const auto read = read_file_at(opened(folder.path()), "file", DirectoryTrust::owned, limit_bytes);
  BOOST_REQUIRE(read.ok());
  BOOST_TEST(!read.value().has_value());
}

// None of these may block, and the sparse file must not be read or allocated.
BOOST_AUTO_TEST_CASE(hostile_objects_are_refused_at_once) {
  const Folder folder;
  const FileDescriptor directory = opened(folder.path());
  scratch::write_file(folder.path("target"), "x");
  std::filesystem::create_symlink("target", folder.path("link"));
  std::filesystem::create_symlink("loop", folder.path("loop"));
  BOOST_REQUIRE(mkfifo(folder.path("fifo").c_str(), 0600) == 0);
  std::filesystem::create_directory(folder.path("folder"));
  scratch::write_file(folder.path("group"), "x", 0660);
  scratch::write_file(folder.path("others"), "x", 0606);
  scratch::write_file(folder.path("sparse"), "x");
  BOOST_REQUIRE(truncate(folder.path("sparse").c_str(), int64_t{1} << 40) == 0);
  const struct {
    const char *name, *message;
  } cases[] = {{"link", "symbolic link"},
               {"loop", "symbolic link"},
               {"fifo", "no regular file"},
               {"folder", "no regular file"},
               {"group", "may write to it (mode 0660)"},
               {"others", "may write to it (mode 0606)"},
               {"sparse", "1099511627776 bytes"}};
  for (const auto &[name, message] : cases)
    check_refused(read_file_at(directory, name, DirectoryTrust::owned, limit_bytes), message);
}

BOOST_AUTO_TEST_CASE(socket_is_refused) {
  const Folder folder;
  const int end = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // A socket's name has 107 bytes at most, and a folder of TMPDIR may have more.
  const int place = open(folder.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  ("/proc/self/fd/" + std::to_string(place) + "/socket").copy(address.sun_path, sizeof(address.sun_path) - 1);
  BOOST_REQUIRE(bind(end, reinterpret_cast<const sockaddr *>(&address), sizeof(address)) == 0);
  close(place);
  close(end);
  check_refused(read_file_at(opened(folder.path()), "socket", DirectoryTrust::owned, limit_bytes),
                "could not be opened");
}

BOOST_AUTO_TEST_CASE(foreign_file_is_refused, *precondition(scratch::can_change_owner)) {
  const Folder folder;
  scratch::write_file(folder.path("file"), "x");
  BOOST_REQUIRE(chown(folder.path("file").c_str(), scratch::nobody, scratch::nobody) == 0);
  check_refused(read_file_at(opened(folder.path()), "file", DirectoryTrust::readable, limit_bytes),
                "belongs to user 65534");
}

BOOST_AUTO_TEST_CASE(unreadable_file_is_refused, *precondition(scratch::can_be_unprivileged)) {
  const Folder folder;
  scratch::write_file(folder.path("file"), "x", 0200);
  scratch::give_to_child_user(folder.path());
  BOOST_TEST(scratch::run_child([&] {
               if (!scratch::drop_privileges()) return 2;
               const auto directory = open_directory(folder.path(), DirectoryTrust::owned, IfMissing::leave);
               if (!directory.ok()) return 3;
               return read_file_at(directory.value(), "file", DirectoryTrust::owned, limit_bytes).ok() ? 1 : 0;
             }) == 0);
}

// A person who names a file may look at it, whoever owns it; what cannot be a file still must not hang.
BOOST_AUTO_TEST_CASE(named_file_may_be_linked_and_open_to_others) {
  const Folder folder;
  scratch::write_file(folder.path("file"), "text", 0666);
  std::filesystem::create_symlink("file", folder.path("link"));
  BOOST_REQUIRE(mkfifo(folder.path("fifo").c_str(), 0600) == 0);
  BOOST_TEST(text_of(read_file(folder.path("link"), 4)) == "text");
  check_refused(read_file(folder.path("link"), 3), "4 bytes; allowed: 3");
  check_refused(read_file(folder.path("fifo"), 4), "no regular file");
  check_refused(read_file(folder.path(), 4), "no regular file");
  BOOST_TEST(!read_file(folder.path("none"), 4).value().has_value());
}

BOOST_AUTO_TEST_CASE(only_the_file_that_was_read_is_removed) {
  const Folder folder;
  const FileDescriptor directory = opened(folder.path());
  scratch::write_file(folder.path("file"), "old");
  const FileContents old = *read_file_at(directory, "file", DirectoryTrust::owned, limit_bytes).value();
  BOOST_REQUIRE(publish(directory, "file", "new").ok());
  remove_if_same(directory, "file", old);
  BOOST_TEST(text_of(read_file_at(directory, "file", DirectoryTrust::owned, limit_bytes)) == "new");
  remove_if_same(directory, "file", *read_file_at(directory, "file", DirectoryTrust::owned, limit_bytes).value());
  BOOST_TEST(!scratch::exists(folder.path("file")));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(publishing)

BOOST_AUTO_TEST_CASE(content_and_mode) {
  const Folder folder;
  const FileDescriptor directory = opened(folder.path());
  const mode_t before = umask(0);
  const bool wrote =
      publish(directory, "private", "abc").ok() && publish(directory, "shared", "", FileSharing::readable_by_all).ok();
  umask(before);
  BOOST_TEST(wrote);
  BOOST_TEST(scratch::mode_of(folder.path("private")) == 0600u);
  BOOST_TEST(scratch::mode_of(folder.path("shared")) == 0644u);
  BOOST_TEST(text_of(read_file(folder.path("private"), limit_bytes)) == "abc");
  BOOST_TEST(scratch::files_below(folder.path()).size() == 2u);
}

BOOST_AUTO_TEST_CASE(publication_replaces_a_file_or_a_link_and_never_follows_it) {
  const Folder folder;
  const FileDescriptor directory = opened(folder.path());
  scratch::write_file(folder.path("victim"), "victim");
  std::filesystem::create_symlink("victim", folder.path("name"));
  BOOST_TEST(publish(directory, "name", "new").ok());
  BOOST_TEST(text_of(read_file(folder.path("victim"), limit_bytes)) == "victim");
  BOOST_TEST(std::filesystem::is_regular_file(std::filesystem::symlink_status(folder.path("name"))));
  BOOST_TEST(publish(directory, "name", "newer").ok());
  BOOST_TEST(text_of(read_file(folder.path("name"), limit_bytes)) == "newer");
}

BOOST_AUTO_TEST_CASE(failure_leaves_nothing_behind) {
  const Folder folder;
  const FileDescriptor directory = opened(folder.path());
  std::filesystem::create_directory(folder.path("name"));
  check_refused(publish(directory, "name", "x"), "could not be written");
  BOOST_TEST(scratch::files_below(folder.path()).empty());
}

// The limit's signal would end a process that did not ask for it.
BOOST_AUTO_TEST_CASE(file_size_limit_is_an_error_not_a_signal) {
  const Folder folder;
  const int code = scratch::run_child([&] {
    const rlimit limit{100, 100};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
    std::signal(SIGXFSZ, SIG_DFL);
    const auto directory = open_directory(folder.path(), DirectoryTrust::owned, IfMissing::leave);
    const bool fits = publish(directory.value(), "fits", std::string(100, 'x')).ok();
    const bool too_large = publish(directory.value(), "too_large", std::string(101, 'x')).ok();
    return fits && !too_large ? 0 : 1;
  });
  BOOST_TEST(code == 0);
  BOOST_TEST(scratch::files_below(folder.path()).size() == 1u);
}

BOOST_AUTO_TEST_CASE(folder_without_write_permission_is_an_error, *precondition(scratch::can_be_unprivileged)) {
  const Folder folder;
  std::filesystem::create_directory(folder.path("locked"));
  BOOST_REQUIRE(chmod(folder.path("locked").c_str(), 0500) == 0);
  scratch::give_to_child_user(folder.path());
  BOOST_TEST(scratch::run_child([&] {
               if (!scratch::drop_privileges()) return 2;
               const auto directory = open_directory(folder.path("locked"), DirectoryTrust::owned, IfMissing::leave);
               if (!directory.ok()) return 3;
               if (open_directory(folder.path("locked/a"), DirectoryTrust::owned, IfMissing::create_private).ok())
                 return 4;
               return publish(directory.value(), "name", "x").ok() ? 1 : 0;
             }) == 0);
}

BOOST_AUTO_TEST_CASE(status_and_time) {
  const Folder folder;
  const FileDescriptor directory = opened(folder.path());
  scratch::write_file(folder.path("file"), "12345");
  scratch::age(folder.path("file"), 7200);
  const int64_t now_ns = unix_time_ns();
  BOOST_TEST(file_status_at(directory, "file")->bytes == 5);
  BOOST_TEST(file_status_at(directory, "file")->own_regular_file);
  BOOST_TEST(file_status_at(directory, "file")->modified_unix_ns < now_ns - 7'000'000'000'000);
  set_modified_now(directory, "file");
  BOOST_TEST(file_status_at(directory, "file")->modified_unix_ns > now_ns - 60'000'000'000);
  std::filesystem::create_symlink("file", folder.path("link"));
  BOOST_TEST(!file_status_at(directory, "link")->own_regular_file);
  BOOST_TEST(!file_status_at(directory, "none").has_value());
  BOOST_TEST(remove_file_at(directory, "file"));
  BOOST_TEST(remove_file_at(directory, "file"));  // gone is gone
  std::filesystem::create_directory(folder.path("folder"));
  BOOST_TEST(!remove_file_at(directory, "folder"));
}

BOOST_AUTO_TEST_SUITE_END()
