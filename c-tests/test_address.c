/* Addresses as text, both ways. */
#include "net.h"

#include <net/if.h>

/* What is read, and how it is written again; NULL where it is the same. */
struct form {
    const char *text, *again;
    int family;
    socklen_t length;
};

#define UNIX_AT offsetof(struct sockaddr_un, sun_path)

static const struct form forms[] = {
    {"127.0.0.1:80", NULL, AF_INET, sizeof(struct sockaddr_in)},
    {"0.0.0.0:0", NULL, AF_INET, sizeof(struct sockaddr_in)},
    {"255.255.255.255:65535", NULL, AF_INET, sizeof(struct sockaddr_in)},
    {"10.1.2.3:00007", "10.1.2.3:7", AF_INET, sizeof(struct sockaddr_in)},
    {"[::]:0", NULL, AF_INET6, sizeof(struct sockaddr_in6)},
    {"[::1]:80", NULL, AF_INET6, sizeof(struct sockaddr_in6)},
    {"[2001:db8::ff00:42:8329]:65535", NULL, AF_INET6, sizeof(struct sockaddr_in6)},
    {"[1:2:3:4:5:6:7:8]:9", NULL, AF_INET6, sizeof(struct sockaddr_in6)},
    {"[0:0:0:0:0:0:0:1]:80", "[::1]:80", AF_INET6, sizeof(struct sockaddr_in6)},
    {"[2001:DB8::A]:80", "[2001:db8::a]:80", AF_INET6, sizeof(struct sockaddr_in6)},
    {"[::ffff:10.1.2.3]:443", NULL, AF_INET6, sizeof(struct sockaddr_in6)},
    {"[fe80::1%4000000000]:80", NULL, AF_INET6, sizeof(struct sockaddr_in6)},
    {"[fe80::1%lo]:80", NULL, AF_INET6, sizeof(struct sockaddr_in6)},
    {"unix:/run/x.sock", NULL, AF_UNIX, UNIX_AT + 12},
    {"unix:relative", NULL, AF_UNIX, UNIX_AT + 9},
    {"unix:/with space", NULL, AF_UNIX, UNIX_AT + 12},
    {"unix:@name", NULL, AF_UNIX, UNIX_AT + 1 + 4},
    {"unix:@", NULL, AF_UNIX, UNIX_AT + 1},
    {"unix:@a\\x00b\\\\", NULL, AF_UNIX, UNIX_AT + 1 + 4},
    {"unix:\\x40at", NULL, AF_UNIX, UNIX_AT + 4},
    {"unix:\\x2frun", "unix:/run", AF_UNIX, UNIX_AT + 5},
};

TEST(forms_are_read_and_written_again)
{
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const struct form *form = &forms[i];
        struct sockaddr_storage address, again;
        socklen_t length = 77, again_length = 77;
        char text[WEIR_ADDRESS_TEXT_MAX];
        memset(&address, 0xA5, sizeof address);
        int code = weir_address_parse(form->text, &address, &length);
        if (code != 0)
            check_fail(__FILE__, __LINE__, "%s gave %s", form->text, weir_error_name(code));
        CHECK_EQ(address.ss_family, form->family);
        CHECK_EQ(length, form->length);
        CHECK_OK(weir_address_format((struct sockaddr *)&address, length, text, sizeof text));
        const char *want = form->again ? form->again : form->text;
        if (strcmp(text, want) != 0)
            check_fail(__FILE__, __LINE__, "%s became %s, expected %s", form->text, text, want);
        CHECK_OK(weir_address_parse(text, &again, &again_length));
        CHECK_EQ(again_length, length);
        CHECK(memcmp(&again, &address, length) == 0);
        /* The room must be enough for the text and its end; short by one is refused, and nothing is written. */
        size_t exact = strlen(want) + 1;
        memset(text, '!', sizeof text);
        CHECK_OK(weir_address_format((struct sockaddr *)&address, length, text, exact));
        CHECK(strcmp(text, want) == 0);
        CHECK_EQ(text[exact], '!');
        memset(text, '!', sizeof text);
        for (size_t room = 0; room < exact; room++) {
            CHECK_CODE(weir_address_format((struct sockaddr *)&address, length, text, room), -ENOSPC);
            CHECK_EQ(text[0], '!');
        }
    }
}

TEST(the_bytes_are_those_of_the_c_library)
{
    struct sockaddr_storage address;
    socklen_t length = 0;
    memset(&address, 0, sizeof address);
    CHECK_OK(weir_address_parse("127.0.0.1:8080", &address, &length));
    const struct sockaddr_in *inet = (struct sockaddr_in *)&address;
    CHECK_EQ(ntohs(inet->sin_port), 8080);
    CHECK_EQ(ntohl(inet->sin_addr.s_addr), INADDR_LOOPBACK);
    CHECK_OK(weir_address_parse("[fe80::12:34%lo]:8081", &address, &length));
    const struct sockaddr_in6 *inet6 = (struct sockaddr_in6 *)&address;
    struct in6_addr want;
    CHECK_EQ(inet_pton(AF_INET6, "fe80::12:34", &want), 1);
    CHECK_EQ(ntohs(inet6->sin6_port), 8081);
    CHECK(memcmp(&inet6->sin6_addr, &want, sizeof want) == 0);
    CHECK_EQ(inet6->sin6_scope_id, if_nametoindex("lo"));
    CHECK_EQ(inet6->sin6_flowinfo, 0);
    char number[64];
    snprintf(number, sizeof number, "[fe80::12:34%%%u]:8081", if_nametoindex("lo"));
    CHECK_OK(weir_address_parse(number, &address, &length));
    CHECK_EQ(inet6->sin6_scope_id, if_nametoindex("lo"));
    CHECK_OK(weir_address_parse("unix:/run/x.sock", &address, &length));
    const struct sockaddr_un *local = (struct sockaddr_un *)&address;
    CHECK(strcmp(local->sun_path, "/run/x.sock") == 0);
    CHECK_OK(weir_address_parse("unix:@name", &address, &length));
    CHECK(memcmp(local->sun_path, "\0name", 5) == 0);
}

struct bad {
    const char *text;
    int code;
};

static const struct bad bad_texts[] = {
    {"", WEIR_EINVAL},
    {":", WEIR_EINVAL},
    {":80", WEIR_EINVAL},
    {"80", WEIR_EINVAL},
    {"localhost:80", WEIR_EINVAL},
    {"127.0.0.1", WEIR_EINVAL},
    {"127.0.0.1:", WEIR_EINVAL},
    {"127.0.0.1:x", WEIR_EINVAL},
    {"127.0.0.1:80x", WEIR_EINVAL},
    {"127.0.0.1:+80", WEIR_EINVAL},
    {"127.0.0.1:-80", WEIR_EINVAL},
    {"127.0.0.1: 80", WEIR_EINVAL},
    {" 127.0.0.1:80", WEIR_EINVAL},
    {"127.0.0.1:80 ", WEIR_EINVAL},
    {"127.0.0.1:80\n", WEIR_EINVAL},
    {"127.0.0.1:65536", WEIR_EINVAL},
    {"127.0.0.1:99999999999999999999", WEIR_EINVAL},
    {"127.0.0.1:80:80", WEIR_EINVAL},
    {"127.0.0:80", WEIR_EINVAL},
    {"127.0.0.0.1:80", WEIR_EINVAL},
    {"127.0.0.256:80", WEIR_EINVAL},
    {"127.0.0.-1:80", WEIR_EINVAL},
    {"127.0.0.01:80", WEIR_EINVAL},
    {"0x7f.0.0.1:80", WEIR_EINVAL},
    {"2130706433:80", WEIR_EINVAL},
    {"::1:80", WEIR_EINVAL},
    {"[::1]", WEIR_EINVAL},
    {"[::1]:", WEIR_EINVAL},
    {"[::1]80", WEIR_EINVAL},
    {"[::1:80", WEIR_EINVAL},
    {"::1]:80", WEIR_EINVAL},
    {"[]:80", WEIR_EINVAL},
    {"[::1]]:80", WEIR_EINVAL},
    {"[[::1]]:80", WEIR_EINVAL},
    {"[:::1]:80", WEIR_EINVAL},
    {"[1::2::3]:80", WEIR_EINVAL},
    {"[1:2:3:4:5:6:7:8:9]:80", WEIR_EINVAL},
    {"[12345::]:80", WEIR_EINVAL},
    {"[g::1]:80", WEIR_EINVAL},
    {"[127.0.0.1]:80", WEIR_EINVAL},
    {"[fe80::1%]:80", WEIR_EINVAL},
    {"[fe80::1%4294967296]:80", WEIR_EINVAL},
    {"[%lo]:80", WEIR_EINVAL},
    {"[fe80::1%weirnone0]:80", -ENODEV},
    {"[fe80::1%a-name-that-is-too-long-for-an-interface]:80", -ENODEV},
    {"unix", WEIR_EINVAL},
    {"unix:", WEIR_EINVAL},
    {"unix:\\", WEIR_EINVAL},
    {"unix:/a\\n", WEIR_EINVAL},
    {"unix:/a\\x0", WEIR_EINVAL},
    {"unix:/a\\xgg", WEIR_EINVAL},
    {"unix:/a\\x00b", WEIR_EINVAL},
    {"Unix:/a", WEIR_EINVAL},
    {"tcp:127.0.0.1:80", WEIR_EINVAL},
};

TEST(what_is_no_address_is_refused)
{
    struct sockaddr_storage address, before;
    socklen_t length = 77;
    memset(&address, 0xA5, sizeof address);
    before = address;
    for (size_t i = 0; i < sizeof bad_texts / sizeof *bad_texts; i++) {
        int code = weir_address_parse(bad_texts[i].text, &address, &length);
        if (code != bad_texts[i].code)
            check_fail(__FILE__, __LINE__, "\"%s\" gave %s", bad_texts[i].text, weir_error_name(code));
        CHECK_EQ(length, 77); /* written on success only */
        CHECK(memcmp(&address, &before, sizeof address) == 0);
    }
    CHECK_CODE(weir_address_parse(NULL, &address, &length), WEIR_EINVAL);
    CHECK_CODE(weir_address_parse("127.0.0.1:80", NULL, &length), WEIR_EINVAL);
    CHECK_CODE(weir_address_parse("127.0.0.1:80", &address, NULL), WEIR_EINVAL);
    CHECK(memcmp(&address, &before, sizeof address) == 0);
}

TEST(a_text_of_any_length_is_read_safely)
{
    static const char starts[] = "1:[%u\\x@.";
    char *text = malloc(100001);
    struct sockaddr_storage address;
    socklen_t length;
    CHECK(text != NULL);
    for (size_t i = 0; starts[i]; i++) {
        memset(text, starts[i], 100000);
        text[100000] = 0;
        CHECK_CODE(weir_address_parse(text, &address, &length), WEIR_EINVAL);
    }
    memset(text, 'p', 100000);
    memcpy(text, "unix:/", 6);
    CHECK_CODE(weir_address_parse(text, &address, &length), -ENAMETOOLONG);
    text[5] = '@';
    CHECK_CODE(weir_address_parse(text, &address, &length), -ENAMETOOLONG);
    /* 107 bytes are the most. */
    text[5 + 107] = 0;
    text[5] = '/';
    CHECK_OK(weir_address_parse(text, &address, &length));
    CHECK_EQ(length, UNIX_AT + 108);
    char written[WEIR_ADDRESS_TEXT_MAX];
    CHECK_OK(weir_address_format((struct sockaddr *)&address, length, written, sizeof written));
    CHECK(strcmp(text, written) == 0);
    text[5 + 107] = 'p';
    text[5 + 108] = 0;
    CHECK_CODE(weir_address_parse(text, &address, &length), -ENAMETOOLONG);
    free(text);
}

/* Every address of the kernel fits into WEIR_ADDRESS_TEXT_MAX. */
TEST(the_longest_names_fit)
{
    struct sockaddr_un local;
    char text[WEIR_ADDRESS_TEXT_MAX];
    memset(&local, 0, sizeof local);
    local.sun_family = AF_UNIX;
    CHECK_OK(weir_address_format((struct sockaddr *)&local, sizeof local, text, sizeof text));
    CHECK(strncmp(text, "unix:@", 6) == 0);
    struct sockaddr_storage again;
    socklen_t length = 0;
    CHECK_OK(weir_address_parse(text, &again, &length));
    CHECK_EQ(length, sizeof local);
    CHECK(memcmp(&again, &local, sizeof local) == 0);
    /* A path that fills the struct has no NUL. */
    memset(local.sun_path, '\x01', sizeof local.sun_path);
    CHECK_OK(weir_address_format((struct sockaddr *)&local, sizeof local, text, sizeof text));
    CHECK(strlen(text) < sizeof text);
}

TEST(format_checks_what_it_is_given)
{
    struct where where = loopback(AF_INET, 80), six = loopback(AF_INET6, 80);
    char text[WEIR_ADDRESS_TEXT_MAX];
    memset(text, '!', sizeof text);
    CHECK_CODE(weir_address_format(NULL, where.length, text, sizeof text), WEIR_EINVAL);
    CHECK_CODE(weir_address_format(AT(&where), NULL, sizeof text), WEIR_EINVAL);
    for (socklen_t length = 0; length < where.length; length++)
        CHECK_CODE(weir_address_format((struct sockaddr *)&where.address, length, text, sizeof text), WEIR_EINVAL);
    for (socklen_t length = 0; length < six.length; length++)
        CHECK_CODE(weir_address_format((struct sockaddr *)&six.address, length, text, sizeof text), WEIR_EINVAL);
    CHECK_CODE(weir_address_format((struct sockaddr *)&where.address, UINT32_MAX, text, sizeof text), WEIR_EINVAL);
    static const int unknown[] = {AF_UNSPEC, AF_PACKET, AF_NETLINK, 999};
    for (size_t i = 0; i < 4; i++) {
        where.address.ss_family = (sa_family_t)unknown[i];
        CHECK_CODE(weir_address_format((struct sockaddr *)&where.address, sizeof where.address, text, sizeof text),
                   -EAFNOSUPPORT);
    }
    CHECK_EQ(text[0], '!');
    /* A whole sockaddr_storage is as good as the exact length. */
    where = loopback(AF_INET, 80);
    CHECK_OK(weir_address_format((struct sockaddr *)&where.address, sizeof where.address, text, sizeof text));
    CHECK(strcmp(text, "127.0.0.1:80") == 0);
    /* An AF_UNIX socket without a name. */
    where.address.ss_family = AF_UNIX;
    CHECK_OK(weir_address_format((struct sockaddr *)&where.address, sizeof(sa_family_t), text, sizeof text));
    CHECK(strcmp(text, "unix:") == 0);
}

/* Text to socket and back. */
TEST(parsed_addresses_bind_and_connect)
{
    static const char *texts[] = {"127.0.0.1:0", "[::1]:0", "unix:@weir address test"};
    weir_context *context = new_context();
    for (int i = 0; i < 3; i++) {
        struct sockaddr_storage address;
        socklen_t length = 0;
        char text[WEIR_ADDRESS_TEXT_MAX];
        if (i == 1 && !have_ipv6())
            continue;
        CHECK_OK(weir_address_parse(texts[i], &address, &length));
        weir_acceptor *acceptor = new_acceptor(context);
        CHECK_OK(weir_acceptor_bind(acceptor, (struct sockaddr *)&address, length));
        CHECK_OK(weir_acceptor_listen(acceptor, 0));
        CHECK_OK(weir_acceptor_local_address(acceptor, &address, &length));
        CHECK_OK(weir_address_format((struct sockaddr *)&address, length, text, sizeof text));
        CHECK_OK(weir_address_parse(text, &address, &length));
        struct accepted accepted = {0};
        struct counter connected = {0};
        weir_stream *stream = new_stream(context);
        START(weir_acceptor_accept(acceptor, accept_done, &accepted));
        START(weir_stream_connect(stream, (struct sockaddr *)&address, length, done, &connected));
        RUN_UNTIL(context, accepted.calls == 1 && connected.calls == 1);
        CHECK_OK(accepted.status);
        CHECK_OK(connected.status);
        CHECK_OK(weir_acceptor_close(acceptor));
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
