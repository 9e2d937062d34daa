/* Lookups. The program has a getaddrinfo and a getnameinfo of its own, which the library calls: no name server is
 * asked, and what hangs hangs on purpose. */
#include "net.h"

#include <dlfcn.h>
#include <net/if.h>
#include <netdb.h>

/* ---- the stub: answers by the name of the host */

static atomic_int blocked, passed, asked; /* lookups of names only */
static atomic_bool gate;
static pthread_t main_thread;

typedef int find_function(const char *, const char *, const struct addrinfo *, struct addrinfo **);
typedef int name_function(const struct sockaddr *, socklen_t, char *, socklen_t, char *, socklen_t, int);

static find_function *system_find(void)
{
    find_function *function;
    *(void **)&function = dlsym(RTLD_NEXT, "getaddrinfo");
    CHECK(function != NULL);
    return function;
}

static void hang(void)
{
    atomic_fetch_add(&blocked, 1);
    while (!atomic_load(&gate))
        sleep_ms(1);
    atomic_fetch_add(&passed, 1);
}

/* The named addresses, one after another, as the system's freeaddrinfo frees them. */
static int list_of(const char *const *texts, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    struct addrinfo wanted = *hints, **end = out;
    wanted.ai_flags |= AI_NUMERICHOST | AI_NUMERICSERV;
    *out = NULL;
    for (; *texts; texts++) {
        CHECK_EQ(system_find()(*texts, service, &wanted, end), 0);
        end = &(*end)->ai_next;
    }
    return 0;
}

static const char *const several[] = {"192.0.2.7", "2001:db8::1", "192.0.2.1", "fe80::1%lo", "192.0.2.9", NULL};

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    if (hints->ai_flags & AI_NUMERICHOST)
        return system_find()(host, service, hints, out);
    CHECK(!pthread_equal(pthread_self(), main_thread));
    atomic_fetch_add(&asked, 1);
    int code = 0;
    if (host && sscanf(host, "fail%d", &code) == 1)
        return code;
    if (host && sscanf(host, "errno%d", &code) == 1) {
        errno = code;
        return EAI_SYSTEM;
    }
    if (host && strcmp(host, "block") == 0)
        hang();
    if (host && strcmp(host, "many") == 0)
        return list_of(several, service, hints, out);
    return list_of((const char *const[]){"192.0.2.44", NULL}, service && service[0] > '9' ? "80" : service, hints, out);
}

int getnameinfo(const struct sockaddr *address, socklen_t length, char *host, socklen_t host_size, char *service,
                socklen_t service_size, int flags)
{
    if ((flags & NI_NUMERICHOST) && (flags & NI_NUMERICSERV)) {
        name_function *function;
        *(void **)&function = dlsym(RTLD_NEXT, "getnameinfo");
        CHECK(function != NULL);
        return function(address, length, host, host_size, service, service_size, flags);
    }
    CHECK(!pthread_equal(pthread_self(), main_thread));
    atomic_fetch_add(&asked, 1);
    int port = ntohs(((const struct sockaddr_in *)address)->sin_port);
    if (port == 1)
        hang();
    if (port == 2)
        return EAI_AGAIN;
    if (port == 3) {
        errno = EMFILE;
        return EAI_SYSTEM;
    }
    snprintf(host, host_size, "host with flags %d", flags);
    snprintf(service, service_size, "port %d", port);
    return 0;
}

/* ---- what the callbacks saw */

struct answer {
    atomic_int calls, status;
    weir_addresses *addresses; /* kept if `keep` */
    weir_names *names;
    bool keep;
    weir_resolver *close;
};

static void found(int status, weir_addresses *addresses, void *user)
{
    struct answer *answer = user;
    CHECK(!net_starting);
    CHECK((status == 0) == (addresses != NULL));
    CHECK(status != 0 || weir_addresses_count(addresses) > 0);
    if (answer->close)
        CHECK_OK(weir_resolver_close(answer->close));
    if (answer->keep)
        answer->addresses = addresses;
    else
        weir_addresses_free(addresses);
    atomic_store(&answer->status, status);
    atomic_fetch_add(&answer->calls, 1);
}

static void named(int status, weir_names *names, void *user)
{
    struct answer *answer = user;
    CHECK(!net_starting);
    CHECK((status == 0) == (names != NULL));
    if (answer->keep)
        answer->names = names;
    else
        weir_names_free(names);
    atomic_store(&answer->status, status);
    atomic_fetch_add(&answer->calls, 1);
}

#define CHECK_ANSWER(answer, want)                                                                                     \
    do {                                                                                                               \
        CHECK_EQ(atomic_load(&(answer).calls), 1);                                                                     \
        CHECK_CODE(atomic_load(&(answer).status), want);                                                               \
    } while (0)

static int count_threads(void)
{
    int threads = 0;
    DIR *directory = opendir("/proc/self/task");
    CHECK(directory != NULL);
    while (readdir(directory))
        threads++;
    closedir(directory);
    return threads - 2;
}

static void *nothing(void *user)
{
    return user;
}

static int threads_before;

static weir_resolver *new_resolver(weir_context *context)
{
    weir_resolver *resolver = NULL;
    if (threads_before == 0) {
        join_thread(start_thread(nothing, NULL)); /* the thread sanitizer's own thread comes with the first */
        threads_before = count_threads();
    }
    CHECK_OK(weir_resolver_create(context, &resolver));
    CHECK(resolver != NULL);
    main_thread = pthread_self();
    return resolver;
}

static void check_text(const weir_addresses *addresses, size_t index, const char *text)
{
    const struct sockaddr *address = NULL;
    socklen_t length = 0;
    char got[WEIR_ADDRESS_TEXT_MAX];
    CHECK_OK(weir_addresses_get(addresses, index, &address, &length));
    CHECK_OK(weir_address_format(address, length, got, sizeof got));
    if (strcmp(got, text) != 0)
        check_fail(__FILE__, __LINE__, "address %zu is %s and not %s", index, got, text);
}

static struct answer keeping(weir_context *context, weir_resolver *resolver, const char *host, const char *service,
                             const weir_resolve_hints *hints)
{
    struct answer answer = {.keep = true};
    START(weir_resolver_resolve(resolver, host, service, hints, found, &answer));
    RUN_UNTIL(context, atomic_load(&answer.calls) == 1);
    return answer;
}

static void release(weir_context *context)
{
    atomic_store(&gate, true);
    WAIT_FOR(atomic_load(&passed) == atomic_load(&blocked));
    CHECK_OK(weir_context_destroy(context));
    /* The threads drop what nobody waits for, then go: what they hold is no leak. */
    WAIT_FOR(count_threads() <= threads_before);
}

/* ---- forward */

TEST(h62_several_addresses_keep_their_order_and_scope)
{
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    weir_context *of = NULL;
    CHECK_OK(weir_resolver_context(resolver, &of));
    CHECK(of == context);
    struct answer answer = keeping(context, resolver, "many", "81", NULL);
    CHECK_OK(answer.status);
    CHECK_EQ(weir_addresses_count(answer.addresses), 5);
    CHECK(weir_addresses_canonical_name(answer.addresses) == NULL);
    const struct sockaddr *address;
    socklen_t length;
    CHECK_OK(weir_addresses_get(answer.addresses, 3, &address, &length));
    CHECK_EQ(((const struct sockaddr_in6 *)(const void *)address)->sin6_scope_id, if_nametoindex("lo"));
    CHECK_OK(weir_context_destroy(context)); /* the result outlives it */
    check_text(answer.addresses, 0, "192.0.2.7:81");
    check_text(answer.addresses, 1, "[2001:db8::1]:81");
    check_text(answer.addresses, 2, "192.0.2.1:81");
    check_text(answer.addresses, 4, "192.0.2.9:81");
    CHECK_CODE(weir_addresses_get(answer.addresses, 5, &address, &length), WEIR_EINVAL);
    CHECK_CODE(weir_addresses_get(answer.addresses, SIZE_MAX, &address, &length), WEIR_EINVAL);
    CHECK_CODE(weir_addresses_get(answer.addresses, 0, NULL, &length), WEIR_EINVAL);
    CHECK_CODE(weir_addresses_get(answer.addresses, 0, &address, NULL), WEIR_EINVAL);
    weir_addresses_free(answer.addresses);
}

TEST(h62_each_code_is_kept_apart)
{
    static const struct {
        int system, code;
    } codes[] = {{-9, WEIR_EAI_ADDRFAMILY},         {EAI_AGAIN, WEIR_EAI_AGAIN},       {EAI_BADFLAGS, WEIR_EAI_BADFLAGS},
                 {EAI_FAIL, WEIR_EAI_FAIL},         {EAI_FAMILY, WEIR_EAI_FAMILY},     {EAI_NODATA, WEIR_EAI_NODATA},
                 {EAI_NONAME, WEIR_EAI_NONAME},     {EAI_OVERFLOW, WEIR_EAI_OVERFLOW}, {EAI_SERVICE, WEIR_EAI_SERVICE},
                 {EAI_SOCKTYPE, WEIR_EAI_SOCKTYPE}, {EAI_MEMORY, WEIR_ENOMEM},         {-9999, WEIR_EAI_FAIL},
                 {77, WEIR_EAI_FAIL}};
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        char host[32];
        snprintf(host, sizeof host, "fail%d", codes[i].system);
        CHECK_CODE(keeping(context, resolver, host, NULL, NULL).status, codes[i].code);
        CHECK(strcmp(weir_error_name(codes[i].code), "UNKNOWN") != 0);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(h62_the_errno_is_that_of_the_thread_that_asked)
{
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    errno = EDOM;
    CHECK_CODE(keeping(context, resolver, "errno24", NULL, NULL).status, -EMFILE);
    errno = EDOM;
    CHECK_CODE(keeping(context, resolver, "errno5", NULL, NULL).status, -EIO);
    /* Never a success without a result. */
    CHECK_CODE(keeping(context, resolver, "errno0", NULL, NULL).status, WEIR_EAI_FAIL);
    CHECK_OK(weir_context_destroy(context));
}

TEST(numbers_need_no_thread)
{
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    int before = count_threads();
    struct {
        const char *host, *service;
        int flags, family;
        const char *text;
    } rows[] = {{"127.0.0.1", "80", 0, 0, "127.0.0.1:80"},
                {"::1", NULL, 0, 0, "[::1]:0"},
                {"::1", "65535", WEIR_RESOLVE_NUMERIC_HOST | WEIR_RESOLVE_NUMERIC_SERVICE, 0, "[::1]:65535"},
                {"1.2.3.4", "5", WEIR_RESOLVE_V4_MAPPED, AF_INET6, "[::ffff:1.2.3.4]:5"},
                {NULL, "7", 0, AF_INET, "127.0.0.1:7"},
                {NULL, "7", WEIR_RESOLVE_PASSIVE, AF_INET, "0.0.0.0:7"},
                {NULL, "7", WEIR_RESOLVE_PASSIVE, AF_INET6, "[::]:7"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        weir_resolve_hints hints = {.struct_size = sizeof hints, .flags = rows[i].flags, .family = rows[i].family};
        struct answer answer = keeping(context, resolver, rows[i].host, rows[i].service, &hints);
        CHECK_OK(answer.status);
        CHECK_EQ(weir_addresses_count(answer.addresses), 1);
        check_text(answer.addresses, 0, rows[i].text);
        weir_addresses_free(answer.addresses);
    }
    char scoped[64];
    unsigned loopback_index = if_nametoindex("lo");
    for (int by_name = 0; by_name < 2 && loopback_index != 0; by_name++) {
        if (by_name)
            snprintf(scoped, sizeof scoped, "fe80::1%%lo");
        else
            snprintf(scoped, sizeof scoped, "fe80::1%%%u", loopback_index);
        struct answer answer = keeping(context, resolver, scoped, "1", NULL);
        CHECK_OK(answer.status);
        const struct sockaddr *address;
        socklen_t length;
        CHECK_OK(weir_addresses_get(answer.addresses, 0, &address, &length));
        CHECK_EQ(((const struct sockaddr_in6 *)(const void *)address)->sin6_scope_id, loopback_index);
        weir_addresses_free(answer.addresses);
    }
    weir_resolve_hints strict = {.struct_size = sizeof strict,
                                 .flags = WEIR_RESOLVE_NUMERIC_HOST | WEIR_RESOLVE_NUMERIC_SERVICE};
    CHECK_CODE(keeping(context, resolver, "name", "1", &strict).status, WEIR_EAI_NONAME);
    CHECK_CODE(keeping(context, resolver, "::1", "http", &strict).status, WEIR_EAI_NONAME);
    strict.family = 9999;
    CHECK_CODE(keeping(context, resolver, "::1", "1", &strict).status, WEIR_EAI_FAMILY);
    CHECK_EQ(count_threads(), before);
    CHECK_EQ(atomic_load(&asked), 0);
    /* A name does. */
    struct answer answer = keeping(context, resolver, "name", "1", NULL);
    check_text(answer.addresses, 0, "192.0.2.44:1");
    weir_addresses_free(answer.addresses);
    CHECK_EQ(atomic_load(&asked), 1);
    CHECK(count_threads() > before);
    CHECK_OK(weir_context_destroy(context));
}

TEST(the_canonical_name)
{
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    weir_resolve_hints hints = {.struct_size = sizeof hints, .flags = WEIR_RESOLVE_CANONICAL_NAME};
    struct answer answer = keeping(context, resolver, "name", "1", &hints);
    CHECK_OK(answer.status);
    CHECK(strcmp(weir_addresses_canonical_name(answer.addresses), "192.0.2.44") == 0); /* as the stub has it */
    weir_addresses_free(answer.addresses);
    CHECK(weir_addresses_canonical_name(NULL) == NULL);
    CHECK_EQ(weir_addresses_count(NULL), 0);
    weir_addresses_free(NULL);
    CHECK_OK(weir_context_destroy(context));
}

TEST(hints_and_names_are_checked)
{
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    struct answer answer = {0};
    struct {
        weir_resolve_hints known;
        unsigned char more[16];
    } later;
    memset(&later, 0, sizeof later);
    for (size_t size = 0; size < sizeof later.known; size++) {
        later.known.struct_size = size;
        START_CODE(weir_resolver_resolve(resolver, "::1", "1", &later.known, found, &answer), WEIR_EINVAL);
    }
    later.known.struct_size = SIZE_MAX;
    START_CODE(weir_resolver_resolve(resolver, "::1", "1", &later.known, found, &answer), WEIR_EINVAL);
    later.known.struct_size = sizeof later;
    later.more[15] = 1;
    START_CODE(weir_resolver_resolve(resolver, "::1", "1", &later.known, found, &answer), WEIR_EINVAL);
    later.more[15] = 0;
    later.known.flags = 1u << 7;
    START_CODE(weir_resolver_resolve(resolver, "::1", "1", &later.known, found, &answer), WEIR_EINVAL);
    START_CODE(weir_resolver_resolve(resolver, NULL, NULL, NULL, found, &answer), WEIR_EINVAL);
    static char large[1 << 20];
    memset(large, 'a', sizeof large - 1);
    START_CODE(weir_resolver_resolve(resolver, large, "1", NULL, found, &answer), -ENAMETOOLONG);
    START_CODE(weir_resolver_resolve(resolver, "::1", large, NULL, found, &answer), -ENAMETOOLONG);
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_EQ(atomic_load(&answer.calls), 0);
    later.known.flags = 0;
    START(weir_resolver_resolve(resolver, "::1", "1", &later.known, found, &answer));
    RUN_UNTIL(context, atomic_load(&answer.calls) == 1);
    CHECK_ANSWER(answer, 0);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- reverse */

TEST(reverse)
{
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    struct where where = loopback(AF_INET, 90);
    struct answer answer = {.keep = true};
    START(weir_resolver_reverse(resolver, AT(&where), WEIR_REVERSE_NAME_REQUIRED | WEIR_REVERSE_DATAGRAM, named, &answer));
    RUN_UNTIL(context, atomic_load(&answer.calls) == 1);
    CHECK_ANSWER(answer, 0);
    char text[64];
    snprintf(text, sizeof text, "host with flags %d", NI_NAMEREQD | NI_DGRAM);
    CHECK(strcmp(weir_names_host(answer.names), text) == 0);
    CHECK(strcmp(weir_names_service(answer.names), "port 90") == 0);
    weir_names_free(answer.names);
    static const int codes[][2] = {{2, WEIR_EAI_AGAIN}, {3, -EMFILE}};
    for (int i = 0; i < 2; i++) {
        struct answer failed = {0};
        where = loopback(AF_INET6, (uint16_t)codes[i][0]);
        START(weir_resolver_reverse(resolver, AT(&where), 0, named, &failed));
        RUN_UNTIL(context, atomic_load(&failed.calls) == 1);
        CHECK_ANSWER(failed, codes[i][1]);
    }
    CHECK_OK(weir_context_destroy(context));
    weir_names_free(NULL);
    CHECK(weir_names_host(NULL) == NULL && weir_names_service(NULL) == NULL);
}

TEST(reverse_with_numbers_needs_no_thread)
{
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    int before = count_threads();
    struct where where = loopback(AF_INET6, 90);
    struct answer answer = {.keep = true};
    START(weir_resolver_reverse(resolver, AT(&where), WEIR_REVERSE_NUMERIC_HOST | WEIR_REVERSE_NUMERIC_SERVICE, named,
                                &answer));
    RUN_UNTIL(context, atomic_load(&answer.calls) == 1);
    CHECK_ANSWER(answer, 0);
    CHECK(strcmp(weir_names_host(answer.names), "::1") == 0);
    CHECK(strcmp(weir_names_service(answer.names), "90") == 0);
    weir_names_free(answer.names);
    CHECK_EQ(count_threads(), before);
    CHECK_EQ(atomic_load(&asked), 0);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- many, and stuck ones */

static int one_more(void *user)
{
    atomic_fetch_add((atomic_int *)user, 1);
    return 0;
}

TEST(h60_a_stuck_lookup_blocks_neither_others_nor_jobs)
{
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    struct answer stuck[3] = {{0}}, quick[20] = {{0}};
    atomic_int jobs = 0;
    size_t count = 0;
    for (int i = 0; i < 3; i++)
        START(weir_resolver_resolve(resolver, "block", NULL, NULL, found, &stuck[i]));
    WAIT_FOR(atomic_load(&blocked) == 3);
    for (int i = 0; i < 20; i++)
        START(weir_resolver_resolve(resolver, "name", "1", NULL, found, &quick[i]));
    START(weir_job_start(context, one_more, &jobs, NULL, NULL, NULL));
    for (int i = 0; i < 20; i++) {
        RUN_UNTIL(context, atomic_load(&quick[i].calls) == 1);
        CHECK_ANSWER(quick[i], 0);
    }
    WAIT_FOR(atomic_load(&jobs) == 1);
    CHECK_OK(weir_handle_pending(resolver, &count));
    CHECK_EQ(count, 3);
    CHECK_EQ(atomic_load(&passed), 0);
    atomic_store(&gate, true);
    for (int i = 0; i < 3; i++) {
        RUN_UNTIL(context, atomic_load(&stuck[i].calls) == 1);
        CHECK_ANSWER(stuck[i], 0);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(h60_the_limit_is_kept_and_is_not_that_of_jobs)
{
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    struct answer answer[12] = {{0}};
    atomic_int jobs = 0;
    CHECK_OK(weir_resolver_set_limit(2));
    for (int i = 0; i < 12; i++)
        START(weir_resolver_resolve(resolver, "block", NULL, NULL, found, &answer[i]));
    WAIT_FOR(atomic_load(&blocked) == 2);
    START(weir_job_start(context, one_more, &jobs, NULL, NULL, NULL));
    WAIT_FOR(atomic_load(&jobs) == 1);
    sleep_ms(20);
    CHECK_EQ(atomic_load(&blocked), 2);
    atomic_store(&gate, true);
    for (int i = 0; i < 12; i++) {
        RUN_UNTIL(context, atomic_load(&answer[i].calls) == 1);
        CHECK_ANSWER(answer[i], 0);
    }
    CHECK_EQ(atomic_load(&blocked), 12);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h61_cancel_returns_at_once_and_the_late_answer_is_dropped)
{
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    struct answer stuck[2] = {{0}}, queued = {0}, next = {0};
    struct where where = loopback(AF_INET, 1);
    size_t count = 7;
    CHECK_OK(weir_resolver_cancel(resolver, &count)); /* before */
    CHECK_EQ(count, 0);
    CHECK_OK(weir_resolver_set_limit(2));
    START(weir_resolver_resolve(resolver, "block", NULL, NULL, found, &stuck[0]));
    START(weir_resolver_reverse(resolver, AT(&where), 0, named, &stuck[1]));
    WAIT_FOR(atomic_load(&blocked) == 2);
    START(weir_resolver_resolve(resolver, "block", NULL, NULL, found, &queued));
    CHECK_OK(weir_resolver_cancel(resolver, &count)); /* during */
    CHECK_EQ(count, 3);
    CHECK_EQ(atomic_load(&stuck[0].calls), 0);
    CHECK_OK(weir_resolver_cancel(resolver, &count)); /* after */
    CHECK_EQ(count, 0);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_ANSWER(stuck[0], WEIR_ECANCELED);
    CHECK_ANSWER(stuck[1], WEIR_ECANCELED);
    CHECK_ANSWER(queued, WEIR_ECANCELED);
    CHECK_EQ(atomic_load(&passed), 0);
    /* The next one is not taken for the old ones, and what was cancelled in the queue is not asked. */
    CHECK_OK(weir_context_restart(context));
    START(weir_resolver_resolve(resolver, "name", NULL, NULL, found, &next));
    atomic_store(&gate, true);
    RUN_UNTIL(context, atomic_load(&next.calls) == 1);
    CHECK_ANSWER(next, 0);
    settle(context);
    CHECK_ANSWER(stuck[0], WEIR_ECANCELED);
    CHECK_EQ(atomic_load(&blocked), 2);
    CHECK_OK(weir_handle_cancel(resolver, &count));
    CHECK_EQ(count, 0);
    release(context);
}

TEST(h61_close_returns_at_once)
{
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    struct answer stuck = {0};
    START(weir_resolver_resolve(resolver, "block", NULL, NULL, found, &stuck));
    WAIT_FOR(atomic_load(&blocked) == 1);
    CHECK_OK(weir_handle_close(resolver));
    CHECK_CODE(weir_resolver_close(resolver), WEIR_EBADF);
    weir_resolver *other = new_resolver(context); /* perhaps in the same slot */
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_ANSWER(stuck, WEIR_ECANCELED);
    struct answer next = {0};
    START(weir_resolver_resolve(other, "block", NULL, NULL, found, &next));
    WAIT_FOR(atomic_load(&blocked) == 2);
    CHECK_EQ(atomic_load(&passed), 0);
    atomic_store(&gate, true);
    RUN_UNTIL(context, atomic_load(&next.calls) == 1);
    CHECK_ANSWER(next, 0);
    CHECK_ANSWER(stuck, WEIR_ECANCELED);
    release(context);
}

TEST(h61_destroy_returns_at_once)
{
    weir_context *context = new_context(), *other = new_context();
    weir_resolver *resolver = new_resolver(context);
    struct answer stuck = {0}, record = {0};
    START(weir_resolver_resolve(resolver, "block", NULL, NULL, found, &stuck));
    START(weir_resolver_resolve(resolver, "block", NULL, NULL, NULL, &record));
    START(weir_resolver_resolve(resolver, "::1", NULL, NULL, NULL, &record)); /* found, and nobody takes it */
    WAIT_FOR(atomic_load(&blocked) == 2);
    CHECK_OK(weir_context_destroy(context));
    CHECK_ANSWER(stuck, WEIR_ECANCELED);
    CHECK_EQ(atomic_load(&passed), 0);
    CHECK_CODE(weir_resolver_cancel(resolver, NULL), WEIR_EBADF);
    release(other);
    CHECK_ANSWER(stuck, WEIR_ECANCELED);
}

TEST(h61_the_program_may_end_with_one_stuck)
{
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    static struct answer stuck;
    START(weir_resolver_resolve(resolver, "block", NULL, NULL, found, &stuck));
    WAIT_FOR(atomic_load(&blocked) == 1);
    CHECK_OK(weir_context_destroy(context));
    CHECK_ANSWER(stuck, WEIR_ECANCELED);
}

TEST(a_resolver_may_be_closed_by_its_callback)
{
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    struct answer first = {.close = resolver}, stuck = {0};
    START(weir_resolver_resolve(resolver, "block", NULL, NULL, found, &stuck));
    START(weir_resolver_resolve(resolver, "name", NULL, NULL, found, &first));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_ANSWER(first, 0);
    CHECK_ANSWER(stuck, WEIR_ECANCELED);
    release(context);
}

TEST(as_records)
{
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    struct where where = loopback(AF_INET, 9);
    weir_record record;
    size_t count;
    int mark;
    for (int numeric = 0; numeric < 2; numeric++) {
        CHECK_OK(weir_resolver_resolve(resolver, numeric ? "192.0.2.44" : "name", "3", NULL, NULL, &mark));
        CHECK_OK(weir_context_reap(context, &record, 1, WEIR_FOREVER, &count));
        CHECK_EQ(count, 1);
        CHECK_EQ(record.kind, WEIR_OP_RESOLVE);
        CHECK(record.user == &mark);
        CHECK_OK(record.status);
        weir_addresses *addresses = (weir_addresses *)(uintptr_t)record.value;
        check_text(addresses, 0, "192.0.2.44:3");
        weir_addresses_free(addresses);
    }
    CHECK_OK(weir_resolver_reverse(resolver, AT(&where), 0, NULL, &mark));
    CHECK_OK(weir_context_reap(context, &record, 1, WEIR_FOREVER, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(record.kind, WEIR_OP_REVERSE);
    weir_names *names = (weir_names *)(uintptr_t)record.value;
    CHECK(strcmp(weir_names_service(names), "port 9") == 0);
    weir_names_free(names);
    CHECK_OK(weir_resolver_resolve(resolver, "fail-2", NULL, NULL, NULL, &mark));
    CHECK_OK(weir_context_reap(context, &record, 1, WEIR_FOREVER, &count));
    CHECK_EQ(count, 1);
    CHECK_CODE(record.status, WEIR_EAI_NONAME);
    CHECK_EQ(record.value, 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(in_a_strand)
{
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    struct answer answer[2] = {{0}};
    weir_strand *strand;
    CHECK_OK(weir_strand_create(context, &strand));
    START(weir_resolver_resolve(resolver, "block", NULL, NULL, found, &answer[0]));
    CHECK_CODE(weir_handle_set_strand(resolver, strand), WEIR_EBUSY);
    CHECK_OK(weir_resolver_cancel(resolver, NULL));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_OK(weir_context_restart(context));
    CHECK_ANSWER(answer[0], WEIR_ECANCELED);
    CHECK_OK(weir_handle_set_strand(resolver, strand));
    memset(answer, 0, sizeof answer);
    START(weir_resolver_resolve(resolver, "name", NULL, NULL, found, &answer[0]));
    START(weir_resolver_resolve(resolver, "::1", NULL, NULL, found, &answer[1]));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_ANSWER(answer[0], 0);
    CHECK_ANSWER(answer[1], 0);
    release(context);
}

static weir_context *shared;
static weir_resolver *shared_resolver;
static atomic_int completed;

static void count_found(int status, weir_addresses *addresses, void *user)
{
    (void)user;
    CHECK(status == 0 || status == WEIR_ECANCELED);
    CHECK((status == 0) == (addresses != NULL));
    weir_addresses_free(addresses);
    atomic_fetch_add(&completed, 1);
}

static void *look_up_and_cancel(void *user)
{
    (void)user;
    for (size_t i = 0; i < many(1000); i++) {
        CHECK_OK(weir_resolver_resolve(shared_resolver, i % 3 ? "name" : "::1", "1", NULL, count_found, NULL));
        if (i % 8 == 5)
            CHECK_OK(weir_resolver_cancel(shared_resolver, NULL));
        weir_resolver *own = NULL;
        CHECK_OK(weir_resolver_create(shared, &own));
        CHECK_OK(weir_resolver_resolve(own, "name", "1", NULL, count_found, NULL));
        CHECK_OK(weir_resolver_close(own));
        CHECK_OK(weir_context_poll(shared, NULL));
    }
    return NULL;
}

TEST(from_four_threads_each_completes_once)
{
    pthread_t threads[4];
    shared = new_context_with(0, 4);
    shared_resolver = new_resolver(shared);
    CHECK_OK(weir_context_work_begin(shared));
    for (int i = 0; i < 4; i++)
        threads[i] = start_thread(look_up_and_cancel, NULL);
    for (int i = 0; i < 4; i++)
        join_thread(threads[i]);
    CHECK_OK(weir_context_destroy(shared));
    CHECK_EQ(atomic_load(&completed), 8 * (int)many(1000));
}

TEST(a_stopped_context_keeps_the_answer)
{
    weir_context *context = new_context();
    weir_resolver *resolver = new_resolver(context);
    struct answer answer = {0};
    START(weir_resolver_resolve(resolver, "name", NULL, NULL, found, &answer));
    CHECK_OK(weir_context_stop(context));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(atomic_load(&answer.calls), 0);
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_ANSWER(answer, 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
