/* libpq on weir (include/weir/pq.h) with a real PostgreSQL. */
#include "fake_postgres.h"
#include "postgres.h"

#include <dlfcn.h>
#include <weir/pq.h> /* after OpenSSL's header */

/* libpq takes all that OpenSSL holds in later releases only. Where this is set, it does not learn of it, and is as before. */
static bool old_libpq;

int SSL_pending(const SSL *ssl)
{
    static int (*real)(const SSL *);
    Dl_info caller;
    if (old_libpq && dladdr(__builtin_return_address(0), &caller) != 0 && strstr(caller.dli_fname, "libpq") != NULL)
        return 0;
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "SSL_pending");
    return real(ssl);
}

/* ---- a connection and what it was told */

struct client {
    weir_context *context;
    weir_pq *pq;
    int connects, connect_status;
    int results, ends, end_status; /* of collections */
    int errors;                    /* results that are one */
    char state[8];                 /* of the last such */
    char value[64];                /* the first of the last result that has rows */
    int rows;
    int notes, note_ends, note_end_status;
    char note[64];
    int flushes, flush_status, readies, ready_status;
    int cancels, cancel_status;
};

static void on_connect(int status, void *user)
{
    struct client *client = user;
    CHECK(!net_starting);
    client->connects++;
    client->connect_status = status;
}

static void on_result(int status, PGresult *result, void *user)
{
    struct client *client = user;
    CHECK(!net_starting);
    if (result == NULL) {
        client->ends++;
        client->end_status = status;
        return;
    }
    CHECK_EQ(status, 0);
    client->results++;
    if (PQresultStatus(result) == PGRES_FATAL_ERROR) {
        const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        client->errors++;
        snprintf(client->state, sizeof client->state, "%s", state != NULL ? state : "");
    }
    if (PQntuples(result) > 0 && PQnfields(result) > 0) {
        client->rows += PQntuples(result);
        snprintf(client->value, sizeof client->value, "%s", PQgetvalue(result, 0, 0));
    }
    PQclear(result);
}

static void on_note(int status, PGnotify *note, void *user)
{
    struct client *client = user;
    CHECK(!net_starting);
    if (note == NULL) {
        client->note_ends++;
        client->note_end_status = status;
        return;
    }
    CHECK_EQ(status, 0);
    client->notes++;
    snprintf(client->note, sizeof client->note, "%s:%s", note->relname, note->extra);
    PQfreemem(note);
}

static void on_flush(int status, void *user)
{
    struct client *client = user;
    CHECK(!net_starting);
    client->flushes++;
    client->flush_status = status;
}

static void on_ready(int status, void *user)
{
    struct client *client = user;
    CHECK(!net_starting);
    client->readies++;
    client->ready_status = status;
}

static void on_cancel(int status, void *user)
{
    struct client *client = user;
    client->cancels++;
    client->cancel_status = status;
}

static void begin_connect(struct client *client, weir_context *context, const char *info)
{
    PGconn *conn = PQconnectStart(info);
    CHECK(conn != NULL);
    *client = (struct client){.context = context};
    START(weir_pq_attach(conn, context, NULL, 30 * CHECK_SECOND, &client->pq, on_connect, client));
}

static void connect_to(struct client *client, weir_context *context, bool tcp, const char *more)
{
    char info[512];
    conninfo(info, sizeof info, tcp, more);
    begin_connect(client, context, info);
    RUN_UNTIL(context, client->connects == 1);
    if (client->connect_status != 0)
        check_fail(__FILE__, __LINE__, "connect: %s: %s", weir_error_name(client->connect_status),
                   PQerrorMessage(weir_pq_conn(client->pq)));
}

static void send_query(struct client *client, const char *text)
{
    CHECK_EQ(PQsendQuery(weir_pq_conn(client->pq), text), 1);
    START(weir_pq_collect(client->pq, on_result, client));
}

static void query(struct client *client, const char *text, int status)
{
    int ends = client->ends;
    send_query(client, text);
    RUN_UNTIL(client->context, client->ends > ends);
    CHECK_CODE(client->end_status, status);
}

/* Closes the connections and runs to the end: nothing may be left that keeps the context going. */
static void finish(weir_context *context, struct client *client)
{
    weir_pq_close(client->pq);
    if (weir_context_stopped(context) == 1)
        CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_OK(weir_context_destroy(context));
}

/* ---- cases */

TEST(bad_arguments_are_refused)
{
    weir_context *context = new_context();
    weir_strand *strand;
    struct client client = {0};
    PGconn *conn = PQconnectStart("host=/nowhere/at/all");
    CHECK(conn != NULL);
    CHECK_CODE(weir_pq_attach(NULL, context, NULL, 0, &client.pq, on_connect, &client), WEIR_EINVAL);
    CHECK_CODE(weir_pq_attach(conn, context, NULL, 0, NULL, on_connect, &client), WEIR_EINVAL);
    CHECK_CODE(weir_pq_attach(conn, context, NULL, 0, &client.pq, NULL, &client), WEIR_EINVAL);
    CHECK_CODE(weir_pq_attach(conn, context, NULL, -1, &client.pq, on_connect, &client), WEIR_EINVAL);
    CHECK_CODE(weir_pq_attach(conn, NULL, NULL, 0, &client.pq, on_connect, &client), WEIR_EBADF);
    CHECK_OK(weir_strand_create(context, &strand));
    CHECK_OK(weir_strand_close(strand));
    CHECK_CODE(weir_pq_attach(conn, context, strand, 0, &client.pq, on_connect, &client), WEIR_EBADF);
    CHECK(client.pq == NULL);

    /* What has failed before it was attached is told as any failure. */
    START(weir_pq_attach(conn, context, NULL, WEIR_FOREVER, &client.pq, on_connect, &client));
    CHECK_CODE(weir_pq_collect(client.pq, on_result, &client), WEIR_ENOTCONN);
    CHECK_CODE(weir_pq_flush(client.pq, NULL, NULL), WEIR_ENOTCONN);
    CHECK_CODE(weir_pq_wait(client.pq, on_ready, &client), WEIR_ENOTCONN);
    CHECK_CODE(weir_pq_notifications(client.pq, on_note, &client), WEIR_ENOTCONN);
    CHECK_CODE(weir_pq_cancel(client.pq, NULL, NULL), WEIR_ENOTCONN);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(client.connects, 1);
    CHECK_CODE(client.connect_status, WEIR_ENOTCONN);
    CHECK(strstr(PQerrorMessage(weir_pq_conn(client.pq)), "/nowhere/at/all") != NULL);
    CHECK_CODE(weir_pq_collect(client.pq, NULL, NULL), WEIR_EINVAL);
    CHECK_CODE(weir_pq_collect(client.pq, on_result, &client), WEIR_ENOTCONN);
    weir_pq_close(client.pq);
    weir_pq_close(NULL);
    CHECK_OK(weir_context_destroy(context));
}

TEST(queries_over_tcp_and_unix_sockets)
{
    weir_context *context = new_context();
    struct client clients[2];
    start_postgres(false);
    for (int tcp = 0; tcp < 2; tcp++) {
        struct client *client = &clients[tcp];
        connect_to(client, context, tcp, "");
        query(client, "select 6 * 7", 0);
        CHECK_EQ(client->results, 1);
        CHECK(strcmp(client->value, "42") == 0);
        query(client, "select 1; select 2; select 'three'", 0); /* one collection has all three */
        CHECK_EQ(client->results, 4);
        CHECK(strcmp(client->value, "three") == 0);
        query(client, "select 1 / 0", 0);
        CHECK_EQ(client->errors, 1);
        CHECK(strcmp(client->state, "22012") == 0);
        query(client, "", 0);
        query(client, "select 'and goes on'", 0);
        CHECK(strcmp(client->value, "and goes on") == 0);

        send_query(client, "select 5");
        CHECK_CODE(weir_pq_collect(client->pq, on_result, client), WEIR_EBUSY);
        CHECK_CODE(weir_pq_wait(client->pq, on_ready, client), WEIR_EBUSY);
        RUN_UNTIL(context, client->ends == 6);
        CHECK_EQ(client->connects, 1);
    }
    weir_pq_close(clients[0].pq);
    finish(context, &clients[1]);
}

/* Rows by the ten thousand, one result each, beside a function that posts itself: neither has the loop for itself. */
static int in_a_row, most_in_a_row;

static void on_row(int status, PGresult *result, void *user)
{
    if (++in_a_row > most_in_a_row)
        most_in_a_row = in_a_row;
    on_result(status, result, user);
}

static void between(int status, void *user)
{
    struct client *client = user;
    in_a_row = 0;
    if (status == 0 && client->ends == 0)
        CHECK_OK(weir_context_post(client->context, between, client));
}

TEST(single_rows_by_the_ten_thousand_leave_others_their_turn)
{
    weir_context *context = new_context();
    struct client client;
    int rows = (int)many(60000);
    char text[128];
    start_postgres(false);
    connect_to(&client, context, false, "");
    snprintf(text, sizeof text, "select generate_series(1, %d)", rows);
    CHECK_EQ(PQsendQuery(weir_pq_conn(client.pq), text), 1);
    CHECK_EQ(PQsetSingleRowMode(weir_pq_conn(client.pq)), 1);
    START(weir_pq_collect(client.pq, on_row, &client));
    CHECK_OK(weir_context_post(context, between, &client));
    RUN_UNTIL(context, client.ends == 1);
    CHECK_EQ(client.rows, rows);
    CHECK_EQ(client.results, rows + 1); /* the last says that they are all */
    CHECK(most_in_a_row > 1 && most_in_a_row <= 3 * WEIR_PQ_BATCH);
    finish(context, &client);
}

enum { PIPELINED = 2000 };
struct pipeline {
    struct client client;
    int next, syncs;
};

static void on_pipelined(int status, PGresult *result, void *user)
{
    struct pipeline *pipeline = user;
    CHECK_EQ(status, 0);
    if (result == NULL) {
        /* One collection for each query and each sync. */
        if (pipeline->next < PIPELINED || pipeline->syncs == 0)
            START(weir_pq_collect(pipeline->client.pq, on_pipelined, pipeline));
        return;
    }
    if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
        pipeline->syncs++;
    } else {
        CHECK_EQ(PQresultStatus(result), PGRES_TUPLES_OK);
        CHECK_EQ(atoi(PQgetvalue(result, 0, 0)), pipeline->next);
        pipeline->next++;
    }
    PQclear(result);
}

TEST(a_pipeline_of_thousands_is_answered_in_order)
{
    weir_context *context = new_context();
    struct pipeline pipeline = {.next = 0};
    start_postgres(false);
    connect_to(&pipeline.client, context, true, "");
    PGconn *conn = weir_pq_conn(pipeline.client.pq);
    CHECK_EQ(PQenterPipelineMode(conn), 1);
    for (int i = 0; i < PIPELINED; i++) {
        char number[16];
        const char *values[] = {number};
        snprintf(number, sizeof number, "%d", i);
        CHECK_EQ(PQsendQueryParams(conn, "select $1::int", 1, NULL, values, NULL, NULL, 0), 1);
    }
    CHECK_EQ(PQpipelineSync(conn), 1);
    START(weir_pq_collect(pipeline.client.pq, on_pipelined, &pipeline));
    RUN_UNTIL(context, pipeline.syncs == 1);
    CHECK_EQ(pipeline.next, PIPELINED);
    RUN_UNTIL(context, PQexitPipelineMode(conn) == 1);
    query(&pipeline.client, "select 'plain'", 0);
    finish(context, &pipeline.client);
}

TEST(results_that_are_there_already_are_collected)
{
    weir_context *context = new_context();
    struct client client;
    start_postgres(false);
    connect_to(&client, context, false, "");
    PGconn *conn = weir_pq_conn(client.pq);
    CHECK_EQ(PQenterPipelineMode(conn), 1);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(PQsendQueryParams(conn, "select 1", 0, NULL, NULL, NULL, NULL, 0), 1);
        CHECK_EQ(PQpipelineSync(conn), 1);
    }
    for (int i = 1; i <= 4; i++) { /* two queries and two syncs, each a collection */
        START(weir_pq_collect(client.pq, on_result, &client));
        RUN_UNTIL(context, client.ends == i);
        CHECK_EQ(client.results, i);
        settle(context); /* no event of the socket's is left */
    }
    CHECK_EQ(client.rows, 2);
    finish(context, &client);
}

/* Megabytes: the query is sent in pieces, when the socket takes them. */
static char big[6 << 20];

static void fill_big(void)
{
    for (size_t i = 0; i < sizeof big - 1; i++)
        big[i] = (char)('a' + (i * 31 + i / 4099) % 26);
}

static void on_big(int status, PGresult *result, void *user)
{
    struct client *client = user;
    if (result != NULL) {
        CHECK_EQ(PQresultStatus(result), PGRES_TUPLES_OK);
        CHECK_EQ(PQgetlength(result, 0, 0), sizeof big - 1);
        CHECK(memcmp(PQgetvalue(result, 0, 0), big, sizeof big) == 0);
    }
    on_result(status, result, client);
}

static void echo_big(struct client *client)
{
    const char *values[] = {big};
    CHECK_EQ(PQsendQueryParams(weir_pq_conn(client->pq), "select $1::text", 1, NULL, values, NULL, NULL, 0), 1);
    START(weir_pq_collect(client->pq, on_big, client));
    RUN_UNTIL(client->context, client->ends == 1);
    CHECK_EQ(client->rows, 1);
}

TEST(values_of_megabytes_go_both_ways)
{
    weir_context *context = new_context();
    struct client client;
    fill_big();
    start_postgres(false);
    for (int tcp = 0; tcp < 2; tcp++) {
        connect_to(&client, context, tcp, "");
        echo_big(&client);
        if (tcp == 0)
            weir_pq_close(client.pq);
    }
    finish(context, &client);
}

int plain_attach(PGconn *conn, weir_context *context, weir_pq **out, weir_callback callback, void *user);
int plain_collect(weir_pq *pq, weir_pq_result_callback callback, void *user);

TEST(over_tls_what_openssl_holds_back_is_not_forgotten)
{
    old_libpq = true;
    for (int plain = 0; plain < 2; plain++) { /* with OpenSSL's header and without */
        weir_context *context = new_context();
        struct fake_postgres fake = {.rows = 2};
        struct client client = {.context = context};
        char info[256];
        make_certificate();
        fake.listener = plain_listener(AF_INET, 1, &fake.where);
        pthread_t thread = start_thread(fake_postgres_runs, &fake);
        snprintf(info, sizeof info, "hostaddr=127.0.0.1 port=%d user=weir sslmode=require gssencmode=disable", port_of(&fake.where));
        PGconn *conn = PQconnectStart(info);
        START(plain ? plain_attach(conn, context, &client.pq, on_connect, &client)
                    : weir_pq_attach(conn, context, NULL, WEIR_FOREVER, &client.pq, on_connect, &client));
        RUN_UNTIL(context, client.connects == 1);
        CHECK_CODE(client.connect_status, 0);
        CHECK_EQ(PQsendQuery(conn, "select"), 1);
        START((plain ? plain_collect : weir_pq_collect)(client.pq, on_result, &client));
        RUN_UNTIL(context, client.ends == 1);
        CHECK_CODE(client.end_status, 0);
        CHECK_EQ(client.errors, 0);
        CHECK_EQ(client.rows, 2);
        finish(context, &client);
        join_thread(thread);
        close(fake.listener);
        free_certificate();
    }
}

TEST(queries_over_tls)
{
    weir_context *context = new_context();
    struct client client;
    fill_big();
    start_postgres(true);
    connect_to(&client, context, true, "sslmode=require");
    CHECK_EQ(PQsslInUse(weir_pq_conn(client.pq)), 1);
    echo_big(&client);
    /* Answers of all lengths about a TLS record's and libpq's buffer. */
    for (int length = 8000; length < 70000; length += 977) {
        char text[128];
        snprintf(text, sizeof text, "select repeat('x', %d), repeat('y', %d)", length, length / 3);
        query(&client, text, 0);
    }
    query(&client, "select repeat('z', 100) from generate_series(1, 30000)", 0);
    CHECK_EQ(client.errors, 0);
    finish(context, &client);
}

TEST(copy_in_and_out)
{
    weir_context *context = new_context();
    struct client client;
    int lines = (int)many(40000), seen = 0, length;
    char *line;
    start_postgres(false);
    connect_to(&client, context, false, "");
    PGconn *conn = weir_pq_conn(client.pq);
    query(&client, "create temp table t (n int, s text)", 0);
    query(&client, "copy t from stdin", 0);
    for (int i = 0; i < lines; i++) {
        char text[64];
        int size = snprintf(text, sizeof text, "%d\tline number %d\n", i, i);
        int put;
        while ((put = PQputCopyData(conn, text, size)) == 0) {
            int flushes = client.flushes;
            START(weir_pq_flush(client.pq, on_flush, &client));
            RUN_UNTIL(context, client.flushes > flushes);
        }
        CHECK_EQ(put, 1);
    }
    int flushes = client.flushes;
    START(weir_pq_flush(client.pq, on_flush, &client));
    RUN_UNTIL(context, client.flushes > flushes);
    CHECK_CODE(client.flush_status, 0);
    CHECK_EQ(PQputCopyEnd(conn, NULL), 1);
    int ends = client.ends;
    START(weir_pq_collect(client.pq, on_result, &client));
    RUN_UNTIL(context, client.ends > ends);
    query(&client, "select count(*) from t", 0);
    CHECK_EQ(atoi(client.value), lines);

    query(&client, "copy (select * from t order by n) to stdout", 0);
    while ((length = PQgetCopyData(conn, &line, 1)) != -1) {
        CHECK(length >= 0);
        if (length == 0) {
            int readies = client.readies;
            START(weir_pq_wait(client.pq, on_ready, &client));
            RUN_UNTIL(context, client.readies > readies);
            CHECK_CODE(client.ready_status, 0);
            continue;
        }
        CHECK_EQ(atoi(line), seen);
        seen++;
        PQfreemem(line);
    }
    CHECK_EQ(seen, lines);
    ends = client.ends;
    START(weir_pq_collect(client.pq, on_result, &client));
    RUN_UNTIL(context, client.ends > ends);
    CHECK_EQ(client.errors, 0);
    finish(context, &client);
}

TEST(notifications_come_while_nothing_else_does)
{
    weir_context *context = new_context();
    struct client listener, sender;
    start_postgres(false);
    connect_to(&listener, context, true, "");
    connect_to(&sender, context, false, "");
    query(&listener, "listen news", 0);
    START(weir_pq_notifications(listener.pq, on_note, &listener));
    CHECK_CODE(weir_pq_notifications(listener.pq, on_note, &listener), WEIR_EBUSY);
    query(&sender, "notify news, 'first'", 0);
    RUN_UNTIL(context, listener.notes == 1);
    CHECK(strcmp(listener.note, "news:first") == 0);
    for (int i = 0; i < 100; i++)
        query(&sender, "select pg_notify('news', clock_timestamp()::text)", 0);
    RUN_UNTIL(context, listener.notes == 101);
    query(&listener, "notify news, 'to itself'", 0);
    RUN_UNTIL(context, listener.notes == 102);
    CHECK_EQ(listener.note_ends, 0);

    /* An idle connection costs nothing. */
    uint64_t turns = turns_of(context);
    CHECK_OK(weir_context_run_for(context, 50 * CHECK_MS, NULL));
    CHECK(turns_of(context) - turns < 20);
    weir_pq_close(sender.pq);
    finish(context, &listener);
    CHECK_EQ(listener.note_ends, 1);
    CHECK_CODE(listener.note_end_status, WEIR_ECANCELED);
}

TEST(a_query_is_cancelled)
{
    weir_context *context = new_context();
    struct client client;
    start_postgres(false);
    connect_to(&client, context, true, "");
    send_query(&client, "select pg_sleep(1000)");
    START(weir_pq_cancel(client.pq, on_cancel, &client));
    while (client.ends == 0) { /* a cancel that comes before the query does nothing */
        RUN_UNTIL(context, client.cancels == 1);
        CHECK_CODE(client.cancel_status, 0);
        CHECK_OK(weir_context_run_for(context, 50 * CHECK_MS, NULL));
        client.cancels = 0;
        START(weir_pq_cancel(client.pq, on_cancel, &client));
    }
    CHECK_EQ(client.ends, 1);
    CHECK_CODE(client.end_status, 0);
    CHECK_EQ(client.errors, 1);
    CHECK(strcmp(client.state, "57014") == 0);
    RUN_UNTIL(context, client.cancels == 1);
    /* Closed while a cancel is on its way. */
    send_query(&client, "select pg_sleep(1000)");
    START(weir_pq_cancel(client.pq, NULL, NULL));
    finish(context, &client);
    CHECK_EQ(client.ends, 2);
    CHECK_CODE(client.end_status, WEIR_ECANCELED);
}

static void stop_postgres(int number)
{
    CHECK_EQ(kill(postgres, number), 0);
    reap_child(postgres);
    postgres = 0;
}

TEST(the_server_goes)
{
    weir_context *context = new_context();
    struct client idle, busy, quiet, later;
    start_postgres(false);
    connect_to(&idle, context, true, "");
    connect_to(&busy, context, false, "");
    connect_to(&quiet, context, true, "");
    START(weir_pq_notifications(idle.pq, on_note, &idle));
    send_query(&busy, "select pg_sleep(1000)");
    stop_postgres(SIGQUIT);
    CHECK_OK(weir_context_run(context, NULL)); /* returns: connections that are lost do not keep it going */
    CHECK_EQ(idle.note_ends, 1);
    CHECK_CODE(idle.note_end_status, WEIR_ENOTCONN);
    CHECK_EQ(busy.errors, 1);
    CHECK_EQ(busy.ends, 1);
    CHECK_CODE(busy.end_status, WEIR_ENOTCONN);
    CHECK_CODE(weir_pq_collect(quiet.pq, on_result, &quiet), WEIR_ENOTCONN);
    CHECK(PQerrorMessage(weir_pq_conn(quiet.pq))[0] != 0);
    weir_pq_close(idle.pq);
    weir_pq_close(busy.pq);
    weir_pq_close(quiet.pq);

    CHECK_OK(weir_context_restart(context));
    launch_postgres(false);
    connect_to(&later, context, true, "");
    query(&later, "select 'back'", 0);
    /* One backend alone, by the server's will, with a query that is sent but not answered. */
    query(&later, "select pg_terminate_backend(pg_backend_pid())", WEIR_ENOTCONN);
    finish(context, &later);
}

TEST(connecting_fails_or_goes_on_to_the_next_host)
{
    weir_context *context = new_context();
    struct client client;
    char info[512];
    snprintf(info, sizeof info, "hostaddr=127.0.0.1 port=%d", unused_port());
    begin_connect(&client, context, info);
    RUN_UNTIL(context, client.connects == 1);
    CHECK_CODE(client.connect_status, WEIR_ENOTCONN);
    CHECK(strstr(PQerrorMessage(weir_pq_conn(client.pq)), "refused") != NULL);
    weir_pq_close(client.pq);

    /* A listener that says nothing: the limit is ours. */
    struct where where;
    int listener = plain_listener(AF_INET, 8, &where);
    snprintf(info, sizeof info, "hostaddr=127.0.0.1 port=%d", port_of(&where));
    client = (struct client){.context = context};
    START(weir_pq_attach(PQconnectStart(info), context, NULL, 30 * CHECK_MS, &client.pq, on_connect, &client));
    RUN_UNTIL(context, client.connects == 1);
    CHECK_CODE(client.connect_status, WEIR_ETIMEDOUT);
    weir_pq_close(client.pq);
    /* And one that goes away in the middle. */
    begin_connect(&client, context, info);
    int first = plain_accept(listener), second = plain_accept(listener);
    close(first);
    reset_and_close(second);
    RUN_UNTIL(context, client.connects == 1);
    CHECK_CODE(client.connect_status, WEIR_ENOTCONN);
    weir_pq_close(client.pq);
    close(listener);

    start_postgres(false);
    snprintf(info, sizeof info, "host=127.0.0.1,127.0.0.1,%s port=%d,%d,%d user=weir dbname=postgres", postgres_folder, unused_port(),
             unused_port(), postgres_port);
    begin_connect(&client, context, info);
    RUN_UNTIL(context, client.connects == 1);
    CHECK_CODE(client.connect_status, 0);
    query(&client, "select 'the third'", 0);
    weir_pq_close(client.pq);

    snprintf(info, sizeof info, "host=%s port=%d user=weir dbname=nowhere", postgres_folder, postgres_port);
    begin_connect(&client, context, info);
    RUN_UNTIL(context, client.connects == 1);
    CHECK_CODE(client.connect_status, WEIR_ENOTCONN);
    CHECK(strstr(PQerrorMessage(weir_pq_conn(client.pq)), "nowhere") != NULL);
    finish(context, &client);
}

/* ---- ends of all sorts */

static void close_on_connect(int status, void *user)
{
    on_connect(status, user);
    weir_pq_close(((struct client *)user)->pq);
}

static void close_on_result(int status, PGresult *result, void *user)
{
    struct client *client = user;
    bool first = client->results == 0 && result != NULL;
    on_result(status, result, user);
    if (first || (client->results == 0 && result == NULL))
        weir_pq_close(client->pq);
}

static void close_on_note(int status, PGnotify *note, void *user)
{
    bool first = note != NULL;
    on_note(status, note, user);
    if (first)
        weir_pq_close(((struct client *)user)->pq);
}

TEST(closed_in_its_own_callbacks)
{
    weir_context *context = new_context();
    struct client client;
    char info[512];
    start_postgres(false);
    int fds = count_fds();
    conninfo(info, sizeof info, true, "");
    client = (struct client){.context = context};
    START(weir_pq_attach(PQconnectStart(info), context, NULL, WEIR_FOREVER, &client.pq, close_on_connect, &client));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(client.connects, 1);
    CHECK_CODE(client.connect_status, 0);

    CHECK_OK(weir_context_restart(context));
    connect_to(&client, context, true, "");
    CHECK_EQ(PQsendQuery(weir_pq_conn(client.pq), "select 1; select 2"), 1);
    START(weir_pq_collect(client.pq, close_on_result, &client));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(client.results, 1);
    CHECK_EQ(client.ends, 1); /* once, whatever happens */
    CHECK_CODE(client.end_status, WEIR_ECANCELED);

    CHECK_OK(weir_context_restart(context));
    connect_to(&client, context, false, "");
    START(weir_pq_notifications(client.pq, close_on_note, &client));
    query(&client, "listen a", 0);
    send_query(&client, "notify a");
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(client.notes, 1);
    CHECK_EQ(client.note_ends, 1);
    CHECK_EQ(client.ends, 2);
    CHECK_EQ(count_fds(), fds);
    CHECK_OK(weir_context_destroy(context));
}

TEST(closed_while_all_is_pending_and_the_context_first)
{
    start_postgres(false);
    int fds = count_fds();
    for (int way = 0; way < 3; way++) {
        weir_context *context = new_context();
        struct client clients[20], half;
        char info[512];
        for (int i = 0; i < 20; i++) {
            connect_to(&clients[i], context, i % 2, "");
            START(weir_pq_notifications(clients[i].pq, on_note, &clients[i]));
            CHECK_OK(weir_context_poll(context, NULL)); /* it looks whether some are there */
            if (i % 3 == 0)
                send_query(&clients[i], "select pg_sleep(1000)");
            else
                START(weir_pq_wait(clients[i].pq, on_ready, &clients[i]));
        }
        conninfo(info, sizeof info, true, "");
        begin_connect(&half, context, info); /* this one has not even begun */
        for (int i = 0; i < 20 && way == 0; i++)
            weir_pq_close(clients[i].pq);
        if (way == 0) {
            weir_pq_close(half.pq);
            CHECK_OK(weir_context_run(context, NULL));
        }
        if (way == 1) /* closed, and never run again */
            for (int i = 0; i < 20; i++)
                weir_pq_close(clients[i].pq);
        CHECK_OK(weir_context_destroy(context));
        for (int i = 0; i < 20; i++) {
            CHECK_EQ(clients[i].note_ends, 1);
            CHECK_CODE(clients[i].note_end_status, WEIR_ECANCELED);
            CHECK_EQ(clients[i].ends + clients[i].readies, 1);
            CHECK_CODE(i % 3 == 0 ? clients[i].end_status : clients[i].ready_status, WEIR_ECANCELED);
            if (way == 2) {
                CHECK_CODE(weir_pq_collect(clients[i].pq, on_result, &clients[i]), WEIR_ENOTCONN);
                weir_pq_close(clients[i].pq);
            }
        }
        CHECK_EQ(half.connects, 1);
        CHECK_CODE(half.connect_status, WEIR_ECANCELED);
        if (way != 0)
            weir_pq_close(half.pq);
        CHECK_EQ(count_fds(), fds);
    }
}

/* ---- several threads */

struct chain {
    struct client client;
    atomic_int inside, left;
};

static void on_chained(int status, PGresult *result, void *user)
{
    struct chain *chain = user;
    CHECK_EQ(atomic_fetch_add(&chain->inside, 1), 0); /* the strand keeps them apart */
    if (result != NULL) {
        CHECK_EQ(PQresultStatus(result), PGRES_TUPLES_OK);
        PQclear(result);
    } else if (status == 0 && atomic_fetch_sub(&chain->left, 1) > 1) {
        CHECK_EQ(PQsendQuery(weir_pq_conn(chain->client.pq), "select 1; select 2"), 1);
        CHECK_OK(weir_pq_collect(chain->client.pq, on_chained, chain));
    } else {
        weir_pq_close(chain->client.pq);
    }
    CHECK_EQ(atomic_fetch_sub(&chain->inside, 1), 1);
}

static void on_chain_connect(int status, void *user)
{
    struct chain *chain = user;
    CHECK_CODE(status, 0);
    CHECK_EQ(PQsendQuery(weir_pq_conn(chain->client.pq), "select 0"), 1);
    CHECK_OK(weir_pq_collect(chain->client.pq, on_chained, chain));
}

static void *run_thread(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

TEST(strands_on_four_threads)
{
    enum { CHAINS = 12, THREADS = 4 };
    static struct chain chains[CHAINS];
    pthread_t threads[THREADS];
    char info[512];
    start_postgres(false);
    weir_context *context = new_context();
    conninfo(info, sizeof info, true, "");
    for (int i = 0; i < CHAINS; i++) {
        weir_strand *strand;
        CHECK_OK(weir_strand_create(context, &strand));
        atomic_store(&chains[i].left, 100);
        CHECK_OK(weir_pq_attach(PQconnectStart(info), context, strand, WEIR_FOREVER, &chains[i].client.pq, on_chain_connect,
                                &chains[i]));
    }
    for (int i = 0; i < THREADS; i++)
        threads[i] = start_thread(run_thread, context);
    for (int i = 0; i < THREADS; i++)
        join_thread(threads[i]);
    for (int i = 0; i < CHAINS; i++)
        CHECK_EQ(atomic_load(&chains[i].left), 0);
    CHECK_OK(weir_context_destroy(context));
}

#ifdef EXAMPLE
TEST(the_example_runs)
{
    char info[512], text[4096];
    start_postgres(false);
    conninfo(info, sizeof info, true, "");
    char *arguments[] = {EXAMPLE, info, "select n, n * n as square from generate_series(1, 3) n", NULL};
    run_child(arguments, 0, text, sizeof text);
    CHECK(strcmp(text, "n\tsquare\n1\t1\n2\t4\n3\t9\n") == 0);
    arguments[2] = "select 1 / 0";
    run_child(arguments, 1, text, sizeof text);
}
#endif

TEST_MAIN()
