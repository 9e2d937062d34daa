/* libcurl's multi interface on weir (include/weir/curl.h), with a server on loopback. */
#include "child.h"
#include "http.h"

#include <weir/curl.h>

struct bench {
    weir_context *context;
    weir_strand *strand;
    CURLM *multi;
    weir_curl *curl;
};
static struct bench bench;

struct transfer {
    CURL *easy;
    size_t got, want;
    int dones;
    CURLcode result;
    bool paused;
};

static size_t take(char *data, size_t size, size_t count, void *user)
{
    struct transfer *transfer = user;
    for (size_t i = 0; i < size * count; i++)
        CHECK_EQ(data[i], http_byte(transfer->got + i));
    transfer->got += size * count;
    return size * count;
}

static struct transfer *transfer_of(CURL *easy)
{
    char *found = NULL;
    CHECK_EQ(curl_easy_getinfo(easy, CURLINFO_PRIVATE, &found), CURLE_OK);
    return (struct transfer *)found;
}

/* Each function that libcurl may say no to. */
#define EASY(call) CHECK_EQ((call), CURLE_OK)
#define MULTI(call) CHECK_EQ((call), CURLM_OK)

static void begin_transfer_from(struct transfer *transfer, const char *host, int port, const char *path)
{
    char url[128];
    memset(transfer, 0, sizeof *transfer);
    transfer->easy = curl_easy_init();
    CHECK(transfer->easy != NULL);
    snprintf(url, sizeof url, "http://%s:%d%s", host, port, path);
    EASY(curl_easy_setopt(transfer->easy, CURLOPT_URL, url));
    EASY(curl_easy_setopt(transfer->easy, CURLOPT_NOPROXY, "*"));
    EASY(curl_easy_setopt(transfer->easy, CURLOPT_NOSIGNAL, 1L));
    EASY(curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, transfer));
    EASY(curl_easy_setopt(transfer->easy, CURLOPT_WRITEFUNCTION, take));
    EASY(curl_easy_setopt(transfer->easy, CURLOPT_WRITEDATA, transfer));
}

static void begin_transfer(struct transfer *transfer, const char *path)
{
    begin_transfer_from(transfer, "127.0.0.1", http_port, path);
    sscanf(path, "/bytes/%zu", &transfer->want);
}

static void end_transfer(struct transfer *transfer)
{
    MULTI(curl_multi_remove_handle(bench.multi, transfer->easy));
    curl_easy_cleanup(transfer->easy);
    transfer->easy = NULL;
}

static void on_done(CURL *easy, CURLcode result, void *user)
{
    struct transfer *transfer = transfer_of(easy);
    CHECK(user == &bench);
    transfer->dones++;
    transfer->result = result;
    end_transfer(transfer);
}

static void set_up_with(weir_curl_callback done)
{
    CHECK_EQ(curl_global_init(CURL_GLOBAL_ALL), 0);
    http_start();
    bench.context = new_context();
    bench.multi = curl_multi_init();
    CHECK(bench.multi != NULL);
    CHECK_OK(weir_curl_attach(bench.multi, bench.context, bench.strand, done, &bench, &bench.curl));
}

static void tear_down(void)
{
    CHECK_OK(weir_curl_detach(bench.curl));
    MULTI(curl_multi_cleanup(bench.multi));
    CHECK_OK(weir_context_destroy(bench.context));
    http_stop();
    curl_global_cleanup();
}

static void add(struct transfer *transfer)
{
    MULTI(curl_multi_add_handle(bench.multi, transfer->easy));
}

/* ---- cases */

TEST(bad_arguments_are_refused)
{
    set_up_with(on_done);
    weir_curl *curl = NULL;
    weir_strand *strand;
    CURLM *multi = curl_multi_init();
    CHECK_CODE(weir_curl_attach(NULL, bench.context, NULL, on_done, NULL, &curl), WEIR_EINVAL);
    CHECK_CODE(weir_curl_attach(multi, bench.context, NULL, NULL, NULL, &curl), WEIR_EINVAL);
    CHECK_CODE(weir_curl_attach(multi, bench.context, NULL, on_done, NULL, NULL), WEIR_EINVAL);
    CHECK_CODE(weir_curl_attach(multi, NULL, NULL, on_done, NULL, &curl), WEIR_EBADF);
    CHECK_OK(weir_strand_create(bench.context, &strand));
    CHECK_OK(weir_strand_close(strand));
    CHECK_CODE(weir_curl_attach(multi, bench.context, strand, on_done, NULL, &curl), WEIR_EBADF);
    CHECK_CODE(weir_curl_detach(NULL), WEIR_EINVAL);
    CHECK(curl == NULL);
    MULTI(curl_multi_cleanup(multi));
    tear_down();
}

enum { TRANSFERS = 200 };
static struct transfer transfers[TRANSFERS];

TEST(two_hundred_transfers_at_once)
{
    set_up_with(on_done);
    int fds = count_fds();
    for (int i = 0; i < TRANSFERS; i++) {
        char path[64];
        snprintf(path, sizeof path, "/bytes/%d", i * 1999 % 300007);
        begin_transfer(&transfers[i], path);
        EASY(curl_easy_setopt(transfers[i].easy, CURLOPT_FRESH_CONNECT, 1L)); /* not one that is through already */
        add(&transfers[i]);
    }
    CHECK_OK(weir_context_run(bench.context, NULL)); /* returns when the last one is done */
    for (int i = 0; i < TRANSFERS; i++) {
        CHECK_EQ(transfers[i].dones, 1);
        CHECK_EQ(transfers[i].result, CURLE_OK);
        CHECK_EQ(transfers[i].got, transfers[i].want);
    }
    CHECK_EQ(http_connections, TRANSFERS);
    CHECK(count_fds() >= fds);
    tear_down();
}

static int chain_left;

static void go_on(CURL *easy, CURLcode result, void *user)
{
    struct transfer *transfer = transfer_of(easy);
    (void)user;
    CHECK_EQ(result, CURLE_OK);
    CHECK_EQ(transfer->got, 5000);
    end_transfer(transfer);
    if (--chain_left > 0) {
        begin_transfer(transfer, "/bytes/5000");
        add(transfer);
    }
}

TEST(the_callback_begins_the_next_transfer_on_the_same_connection)
{
    set_up_with(go_on);
    chain_left = 100;
    begin_transfer(&transfers[0], "/bytes/5000");
    add(&transfers[0]);
    CHECK_OK(weir_context_run(bench.context, NULL));
    CHECK_EQ(chain_left, 0);
    CHECK_EQ(http_connections, 1);
    tear_down();
}

TEST(a_time_limit_ends_a_transfer_and_leaves_the_others)
{
    set_up_with(on_done);
    uint64_t before = turns_of(bench.context);
    for (int i = 0; i < 10; i++) {
        begin_transfer(&transfers[i], i % 2 == 0 ? "/hang" : "/bytes/70000");
        EASY(curl_easy_setopt(transfers[i].easy, CURLOPT_TIMEOUT_MS, i % 2 == 0 ? 100L + i : 60000L));
        add(&transfers[i]);
    }
    CHECK_OK(weir_context_run(bench.context, NULL));
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(transfers[i].dones, 1);
        CHECK_EQ(transfers[i].result, i % 2 == 0 ? CURLE_OPERATION_TIMEDOUT : CURLE_OK);
        CHECK_EQ(transfers[i].got, transfers[i].want);
    }
    CHECK(turns_of(bench.context) - before < 500); /* who waits sleeps */
    tear_down();
}

TEST(a_refused_connection_and_a_cut_one_are_told)
{
    set_up_with(on_done);
    begin_transfer_from(&transfers[0], "127.0.0.1", unused_port(), "/");
    begin_transfer(&transfers[1], "/cut");
    begin_transfer(&transfers[2], "/bytes/10");
    for (int i = 0; i < 3; i++)
        add(&transfers[i]);
    CHECK_OK(weir_context_run(bench.context, NULL));
    CHECK_EQ(transfers[0].result, CURLE_COULDNT_CONNECT);
    CHECK_EQ(transfers[1].result, CURLE_PARTIAL_FILE);
    CHECK_EQ(transfers[1].got, 500);
    CHECK_EQ(transfers[2].result, CURLE_OK);
    tear_down();
}

/* libcurl looks names up on a thread of its own, which tells through a socket pair. */
TEST(a_name_is_looked_up)
{
    set_up_with(on_done);
    for (int i = 0; i < 10; i++) {
        begin_transfer_from(&transfers[i], "localhost", http_port, "/bytes/100");
        EASY(curl_easy_setopt(transfers[i].easy, CURLOPT_IPRESOLVE, (long)CURL_IPRESOLVE_V4));
        add(&transfers[i]);
    }
    CHECK_OK(weir_context_run(bench.context, NULL));
    for (int i = 0; i < 10; i++)
        CHECK_EQ(transfers[i].result, CURLE_OK);
    tear_down();
}

/* ---- transfers that are taken out */

/* The first to be done takes all others out, itself last. */
static void remove_all(CURL *easy, CURLcode result, void *user)
{
    struct transfer *self = transfer_of(easy);
    (void)user;
    CHECK_EQ(result, CURLE_OK);
    CHECK(self->easy == easy); /* not one that was taken out */
    self->dones++;
    for (int i = 0; i < 20; i++)
        if (&transfers[i] != self)
            end_transfer(&transfers[i]);
    end_transfer(self);
}

TEST(a_transfer_is_removed_in_its_own_callback_and_so_are_others)
{
    set_up_with(remove_all);
    for (int i = 0; i < 20; i++) {
        begin_transfer(&transfers[i], i == 7 ? "/bytes/1000" : i % 2 == 0 ? "/hang" : "/bytes/1000000");
        add(&transfers[i]);
    }
    CHECK_OK(weir_context_run(bench.context, NULL));
    int dones = 0;
    for (int i = 0; i < 20; i++)
        dones += transfers[i].dones;
    CHECK_EQ(dones, 1);
    tear_down();
}

static void remove_two(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    end_transfer(&transfers[0]);
    end_transfer(&transfers[1]);
}

/* libcurl does not let itself be called in its own callbacks: what it refuses there works from a post. */
static size_t remove_from_inside(char *data, size_t size, size_t count, void *user)
{
    struct transfer *transfer = user;
    CHECK_EQ(curl_multi_remove_handle(bench.multi, transfer->easy), CURLM_RECURSIVE_API_CALL);
    CHECK_CODE(weir_curl_detach(bench.curl), WEIR_EBUSY);
    if (transfer->got == 0)
        CHECK_OK(weir_context_post(bench.context, remove_two, NULL));
    return take(data, size, count, user);
}

TEST(a_transfer_is_removed_by_a_post_from_its_write_callback)
{
    set_up_with(on_done);
    begin_transfer(&transfers[0], "/half");
    EASY(curl_easy_setopt(transfers[0].easy, CURLOPT_WRITEFUNCTION, remove_from_inside));
    begin_transfer(&transfers[1], "/hang");
    begin_transfer(&transfers[2], "/bytes/1000000");
    for (int i = 0; i < 3; i++)
        add(&transfers[i]);
    CHECK_OK(weir_context_run(bench.context, NULL));
    CHECK_EQ(transfers[0].dones, 0);
    CHECK_EQ(transfers[0].got, 500);
    CHECK_EQ(transfers[1].dones, 0);
    CHECK_EQ(transfers[2].dones, 1);
    tear_down();
}

/* ---- pauses and uploads */

static size_t pause_first(char *data, size_t size, size_t count, void *user)
{
    struct transfer *transfer = user;
    if (!transfer->paused) {
        transfer->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    return take(data, size, count, user);
}

static void resume(int status, void *user)
{
    struct transfer *transfer = user;
    CHECK_EQ(status, 0);
    CHECK(transfer->paused);
    CHECK_EQ(transfer->got, 0);
    EASY(curl_easy_pause(transfer->easy, CURLPAUSE_CONT));
}

TEST(a_paused_transfer_lets_the_loop_sleep_and_goes_on)
{
    set_up_with(on_done);
    weir_timer *timer = new_timer(bench.context);
    begin_transfer(&transfers[0], "/bytes/900000");
    EASY(curl_easy_setopt(transfers[0].easy, CURLOPT_WRITEFUNCTION, pause_first));
    add(&transfers[0]);
    CHECK_OK(weir_context_work_begin(bench.context)); /* a paused transfer waits for nothing */
    while (!transfers[0].paused)
        CHECK_OK(weir_context_run_one(bench.context, NULL));
    uint64_t before = turns_of(bench.context);
    CHECK_OK(weir_context_run_for(bench.context, 50 * CHECK_MS, NULL));
    CHECK(turns_of(bench.context) - before < 50);
    CHECK_OK(weir_timer_expires_after(timer, 50 * CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, resume, &transfers[0]));
    CHECK_OK(weir_context_work_end(bench.context));
    CHECK_OK(weir_context_run(bench.context, NULL));
    CHECK_EQ(transfers[0].dones, 1);
    CHECK_EQ(transfers[0].result, CURLE_OK);
    CHECK_EQ(transfers[0].got, 900000);
    tear_down();
}

static size_t take_text(char *data, size_t size, size_t count, void *user)
{
    struct transfer *transfer = user;
    CHECK_EQ(size * count, 7);
    CHECK(memcmp(data, "3000000", 7) == 0);
    transfer->got += size * count;
    return size * count;
}

/* libcurl asks whether such a body is welcome; this server does not say, and a timer of libcurl's goes on without. */
TEST(bodies_of_megabytes_are_sent)
{
    static char body[3000000];
    set_up_with(on_done);
    for (int i = 0; i < 4; i++) {
        begin_transfer(&transfers[i], "/");
        EASY(curl_easy_setopt(transfers[i].easy, CURLOPT_POSTFIELDSIZE, (long)sizeof body));
        EASY(curl_easy_setopt(transfers[i].easy, CURLOPT_POSTFIELDS, body));
        EASY(curl_easy_setopt(transfers[i].easy, CURLOPT_EXPECT_100_TIMEOUT_MS, 50L));
        EASY(curl_easy_setopt(transfers[i].easy, CURLOPT_WRITEFUNCTION, take_text));
        add(&transfers[i]);
    }
    CHECK_OK(weir_context_run(bench.context, NULL));
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(transfers[i].result, CURLE_OK);
        CHECK_EQ(transfers[i].got, 7);
    }
    tear_down();
}

/* ---- ends of all kinds */

static void end_everything(CURL *easy, CURLcode result, void *user)
{
    (void)user;
    CHECK_EQ(result, CURLE_OK);
    CHECK(transfer_of(easy)->dones++ == 0);
    CHECK_OK(weir_curl_detach(bench.curl));
    for (int i = 0; i < 10; i++)
        end_transfer(&transfers[i]);
    MULTI(curl_multi_cleanup(bench.multi));
}

TEST(the_callback_detaches_and_frees_the_multi_handle)
{
    set_up_with(end_everything);
    for (int i = 0; i < 10; i++) {
        begin_transfer(&transfers[i], i < 5 ? "/bytes/1000" : "/hang");
        add(&transfers[i]);
    }
    CHECK_OK(weir_context_run(bench.context, NULL));
    CHECK_OK(weir_context_destroy(bench.context));
    http_stop();
    curl_global_cleanup();
}

/* Nothing is called after a detach, and nothing holds the context open. */
TEST(transfers_that_are_under_way_stand_still_after_a_detach)
{
    set_up_with(on_done);
    int turns = 0;
    for (int i = 0; i < 10; i++) {
        begin_transfer(&transfers[i], i % 2 == 0 ? "/bytes/1000000" : "/hang");
        EASY(curl_easy_setopt(transfers[i].easy, CURLOPT_TIMEOUT_MS, 60000L));
        add(&transfers[i]);
    }
    while (turns++ < 15)
        CHECK_OK(weir_context_wait_one(bench.context, 20 * CHECK_MS, NULL));
    CHECK_OK(weir_curl_detach(bench.curl));
    CHECK_OK(weir_context_poll(bench.context, NULL));
    CHECK_EQ(weir_context_stopped(bench.context), 1); /* it has no work left */
    for (int i = 0; i < 10; i++)
        if (transfers[i].easy != NULL)
            end_transfer(&transfers[i]);
    MULTI(curl_multi_cleanup(bench.multi));
    CHECK_OK(weir_context_destroy(bench.context));
    http_stop();
    curl_global_cleanup();
}

TEST(the_weir_context_may_be_destroyed_first)
{
    for (int turns = 0; turns < 25; turns += 6) {
        set_up_with(on_done);
        for (int i = 0; i < 10; i++) {
            begin_transfer(&transfers[i], i % 2 == 0 ? "/bytes/1000000" : "/hang");
            add(&transfers[i]);
        }
        for (int i = 0; i < turns; i++)
            CHECK_OK(weir_context_wait_one(bench.context, 20 * CHECK_MS, NULL));
        CHECK_OK(weir_context_destroy(bench.context));
        if (turns % 12 == 0)
            CHECK_OK(weir_curl_detach(bench.curl));
        for (int i = 0; i < 10; i++)
            if (transfers[i].easy != NULL)
                end_transfer(&transfers[i]);
        if (turns % 12 != 0)
            CHECK_OK(weir_curl_detach(bench.curl));
        MULTI(curl_multi_cleanup(bench.multi));
        http_stop();
        curl_global_cleanup();
    }
}

/* A strand that is gone stands for every reason for which libweir may refuse to watch a socket. */
TEST(sockets_that_can_not_be_watched_end_every_transfer)
{
    bench.strand = NULL;
    set_up_with(on_done);
    CHECK_OK(weir_curl_detach(bench.curl));
    CHECK_OK(weir_strand_create(bench.context, &bench.strand));
    CHECK_OK(weir_curl_attach(bench.multi, bench.context, bench.strand, on_done, &bench, &bench.curl));
    CHECK_OK(weir_strand_close(bench.strand));
    for (int i = 0; i < 5; i++) {
        begin_transfer(&transfers[i], "/bytes/1000");
        add(&transfers[i]);
    }
    CHECK_OK(weir_context_run(bench.context, NULL));
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(transfers[i].dones, 1);
        CHECK_EQ(transfers[i].result, CURLE_ABORTED_BY_CALLBACK);
    }
    tear_down();
}

/* ---- several threads and a strand */

static int inside, stranded_left;

static void on_stranded(CURL *easy, CURLcode result, void *user)
{
    struct transfer *transfer = transfer_of(easy);
    (void)user;
    CHECK_EQ(weir_strand_running_in_this_thread(bench.strand), 1);
    CHECK_EQ(inside++, 0);
    CHECK_EQ(result, CURLE_OK);
    CHECK_EQ(transfer->got, transfer->want);
    end_transfer(transfer);
    if (stranded_left-- > 0) {
        begin_transfer(transfer, "/bytes/20000");
        add(transfer);
    }
    inside--;
}

static void begin_stranded(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    CHECK_EQ(inside++, 0);
    for (int i = 0; i < 20; i++) {
        begin_transfer(&transfers[i], "/bytes/20000");
        add(&transfers[i]);
    }
    inside--;
}

static void *run_thread(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

TEST(a_strand_serves_a_context_that_several_threads_run)
{
    pthread_t threads[3];
    set_up_with(on_done);
    CHECK_OK(weir_curl_detach(bench.curl));
    CHECK_OK(weir_strand_create(bench.context, &bench.strand));
    CHECK_OK(weir_curl_attach(bench.multi, bench.context, bench.strand, on_stranded, &bench, &bench.curl));
    stranded_left = (int)many(1000);
    CHECK_OK(weir_strand_post(bench.strand, begin_stranded, NULL));
    for (int i = 0; i < 3; i++)
        threads[i] = start_thread(run_thread, bench.context);
    for (int i = 0; i < 3; i++)
        join_thread(threads[i]);
    CHECK(stranded_left < 0);
    tear_down();
}

#ifdef EXAMPLE
TEST(the_example_runs)
{
    char urls[4][64], text[4096];
    set_up_with(on_done);
    snprintf(urls[0], sizeof urls[0], "http://127.0.0.1:%d/bytes/100000", http_port);
    snprintf(urls[1], sizeof urls[1], "http://127.0.0.1:%d/bytes/7", http_port);
    snprintf(urls[2], sizeof urls[2], "http://127.0.0.1:%d/cut", http_port);
    run_child((char *[]){EXAMPLE, urls[0], urls[1], NULL}, 0, text, sizeof text);
    CHECK(strstr(text, "/bytes/100000: 100000 bytes, No error\n") != NULL);
    CHECK(strstr(text, "/bytes/7: 7 bytes, No error\n") != NULL);
    run_child((char *[]){EXAMPLE, urls[2], NULL}, 1, text, sizeof text);
    CHECK(strstr(text, "/cut: 500 bytes") != NULL);
    tear_down();
}
#endif

TEST_MAIN()
