/* hiredis on weir (include/weir/hiredis.h) with a real redis-server. */
#include "child.h"

#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <weir/hiredis.h>

/* ---- the server */

static pid_t server;
static int server_port;
static char folder[64], unix_path[96];

static void remove_folder(void)
{
    unlink(unix_path);
    rmdir(folder);
}

/* hiredis without an event loop, so that what is tested is not needed to begin. */
static bool server_answers(void)
{
    redisContext *plain = redisConnectUnix(unix_path);
    CHECK(plain != NULL);
    bool answers = false;
    if (plain->err == 0) {
        redisReply *reply = redisCommand(plain, "PING");
        answers = reply != NULL && reply->type == REDIS_REPLY_STATUS; /* an error: still loading */
        if (reply != NULL)
            freeReplyObject(reply);
    }
    redisFree(plain);
    return answers;
}

static void start_server(void)
{
    if (folder[0] == 0) {
        signal(SIGPIPE, SIG_IGN); /* as the header asks for */
        snprintf(folder, sizeof folder, "/tmp/weir-redis-XXXXXX");
        CHECK(mkdtemp(folder) != NULL);
        snprintf(unix_path, sizeof unix_path, "%s/redis", folder);
        atexit(remove_folder);
    }
    bool same_port = server_port != 0;
    for (int tries = 0; tries < 20; tries++) {
        char port[16];
        if (!same_port)
            server_port = unused_port();
        snprintf(port, sizeof port, "%d", server_port);
        char *arguments[] = {"redis-server", "--bind", "127.0.0.1", "--port", port, "--unixsocket", unix_path, "--save", "",
                             "--appendonly", "no", "--dir", folder, NULL};
        server = start_child(arguments, -1);
        int status = 0;
        while (waitpid(server, &status, WNOHANG) == 0) {
            if (server_answers())
                return;
            sleep_ms(5);
        }
        CHECK(!(WIFEXITED(status) && WEXITSTATUS(status) == 127)); /* redis-server is not installed */
    }
    check_fail(__FILE__, __LINE__, "redis-server does not start");
}

static void stop_server(void)
{
    kill_child(server);
    unlink(unix_path);
}

/* ---- connections */

struct client {
    redisAsyncContext *redis; /* NULL when hiredis has freed it */
    weir_context *context;
    int connects, connect_status, disconnects, disconnect_status;
    int replies, nulls;
};

static void on_connect(const redisAsyncContext *redis, int status)
{
    struct client *client = redis->data;
    client->connects++;
    client->connect_status = status;
    if (status != REDIS_OK)
        client->redis = NULL; /* hiredis frees it after this, and calls nothing else */
}

static void on_disconnect(const redisAsyncContext *redis, int status)
{
    struct client *client = redis->data;
    client->disconnects++;
    client->disconnect_status = status;
    client->redis = NULL;
}

static void serve(struct client *client, weir_context *context, redisAsyncContext *redis)
{
    CHECK(redis != NULL);
    *client = (struct client){.redis = redis, .context = context};
    redis->data = client;
    CHECK_OK(weir_hiredis_attach(redis, context, NULL));
    CHECK_EQ(redisAsyncSetConnectCallback(redis, on_connect), REDIS_OK);
    CHECK_EQ(redisAsyncSetDisconnectCallback(redis, on_disconnect), REDIS_OK);
}

static void connect_to(struct client *client, weir_context *context)
{
    serve(client, context, redisAsyncConnect("127.0.0.1", server_port));
}

static void on_reply(redisAsyncContext *redis, void *data, void *user)
{
    struct client *client = redis->data;
    (void)user;
    if (data == NULL)
        client->nulls++;
    else
        client->replies++;
}

/* ---- cases */

TEST(bad_arguments_are_refused)
{
    weir_context *context = new_context();
    weir_strand *strand;
    start_server();
    CHECK_CODE(weir_hiredis_attach(NULL, context, NULL), WEIR_EINVAL);
    redisAsyncContext *redis = redisAsyncConnectUnix("/nowhere/at/all");
    CHECK(redis != NULL);
    CHECK_CODE(weir_hiredis_attach(redis, context, NULL), WEIR_ENOTCONN);
    redisAsyncFree(redis);

    redis = redisAsyncConnect("127.0.0.1", server_port);
    CHECK_CODE(weir_hiredis_attach(redis, NULL, NULL), WEIR_EBADF);
    CHECK_OK(weir_strand_create(context, &strand));
    CHECK_OK(weir_strand_close(strand));
    CHECK_CODE(weir_hiredis_attach(redis, context, strand), WEIR_EBADF);
    CHECK_OK(weir_hiredis_attach(redis, context, NULL));
    CHECK_CODE(weir_hiredis_attach(redis, context, NULL), WEIR_EBUSY);
    redisAsyncFree(redis);
    CHECK_OK(weir_context_destroy(context));
}

enum { PIPELINED = 10000 };
static int next_reply;

static void on_numbered(redisAsyncContext *redis, void *data, void *user)
{
    redisReply *reply = data;
    CHECK(reply != NULL);
    CHECK_EQ(reply->type, REDIS_REPLY_STRING);
    CHECK_EQ(atoi(reply->str), (intptr_t)user);
    CHECK_EQ((intptr_t)user, next_reply++);
    if (next_reply == PIPELINED)
        redisAsyncDisconnect(redis);
}

TEST(ten_thousand_pipelined_commands_are_answered_in_order)
{
    weir_context *context = new_context();
    struct client client;
    start_server();
    connect_to(&client, context);
    for (intptr_t i = 0; i < PIPELINED; i++)
        CHECK_EQ(redisAsyncCommand(client.redis, on_numbered, (void *)i, "ECHO %d", (int)i), REDIS_OK);
    CHECK_OK(weir_context_run(context, NULL)); /* returns: the connection is closed and nothing is left */
    CHECK_EQ(next_reply, PIPELINED);
    CHECK_EQ(client.connects, 1);
    CHECK_EQ(client.connect_status, REDIS_OK);
    CHECK_EQ(client.disconnects, 1);
    CHECK_EQ(client.disconnect_status, REDIS_OK);
    CHECK_OK(weir_context_destroy(context));
}

/* Replies of some megabytes and commands of the same size: neither fits the sockets' buffers. */
static char big[4 << 20];

static void on_big(redisAsyncContext *redis, void *data, void *user)
{
    redisReply *reply = data;
    struct client *client = redis->data;
    (void)user;
    CHECK(reply != NULL);
    CHECK_EQ(reply->type, REDIS_REPLY_STRING);
    CHECK_EQ(reply->len, sizeof big);
    CHECK(memcmp(reply->str, big, sizeof big) == 0);
    if (++client->replies == 5)
        redisAsyncDisconnect(redis);
}

TEST(values_of_megabytes_go_both_ways)
{
    weir_context *context = new_context();
    struct client client;
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 31 + i / 4099);
    start_server();
    connect_to(&client, context);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(redisAsyncCommand(client.redis, on_big, NULL, "ECHO %b", big, sizeof big), REDIS_OK);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(client.replies, 5);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- publish and subscribe: one connection listens, the other speaks when the first is subscribed */

enum { MESSAGES = 100 };
static struct client listener, speaker;
static int heard;

static void on_message(redisAsyncContext *redis, void *data, void *user)
{
    redisReply *reply = data;
    (void)user;
    if (reply == NULL)
        return;
    CHECK_EQ(reply->type, REDIS_REPLY_ARRAY);
    CHECK_EQ(reply->elements, 3);
    if (strcmp(reply->element[0]->str, "subscribe") == 0) {
        for (int i = 0; i < MESSAGES; i++)
            CHECK_EQ(redisAsyncCommand(speaker.redis, on_reply, NULL, "PUBLISH news %d", i), REDIS_OK);
    } else if (strcmp(reply->element[0]->str, "message") == 0) {
        CHECK_EQ(atoi(reply->element[2]->str), heard);
        if (++heard == MESSAGES) {
            CHECK_EQ(redisAsyncCommand(redis, NULL, NULL, "UNSUBSCRIBE"), REDIS_OK);
            redisAsyncDisconnect(speaker.redis);
        }
    } else {
        CHECK(strcmp(reply->element[0]->str, "unsubscribe") == 0);
        redisAsyncDisconnect(redis);
    }
}

TEST(messages_are_published_and_heard)
{
    weir_context *context = new_context();
    start_server();
    connect_to(&listener, context);
    connect_to(&speaker, context);
    CHECK_EQ(redisAsyncCommand(listener.redis, on_message, NULL, "SUBSCRIBE news"), REDIS_OK);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(heard, MESSAGES);
    CHECK_EQ(speaker.replies, MESSAGES);
    CHECK_EQ(listener.disconnects, 1);
    CHECK_EQ(speaker.disconnects, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- the server goes and comes */

static void on_blocked(redisAsyncContext *redis, void *data, void *user)
{
    struct client *client = redis->data;
    (void)user;
    CHECK(data == NULL); /* the key never comes */
    client->nulls++;
}

static void kill_server(redisAsyncContext *redis, void *data, void *user)
{
    (void)redis;
    (void)user;
    CHECK(data != NULL);
    stop_server();
}

static void quit(redisAsyncContext *redis, void *data, void *user)
{
    on_reply(redis, data, user);
    redisAsyncDisconnect(redis);
}

TEST(a_killed_server_ends_what_is_pending_and_a_restarted_one_serves)
{
    weir_context *context = new_context();
    struct client waiting, killing, late;
    start_server();
    for (int round = 0; round < 3; round++) {
        connect_to(&waiting, context);
        connect_to(&killing, context);
        for (int i = 0; i < 10; i++)
            CHECK_EQ(redisAsyncCommand(waiting.redis, on_blocked, NULL, "BLPOP nothing 0"), REDIS_OK);
        CHECK_EQ(redisAsyncCommand(killing.redis, kill_server, NULL, "PING"), REDIS_OK);
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_EQ(waiting.nulls, 10);
        CHECK_EQ(waiting.disconnects, 1);
        CHECK_EQ(waiting.disconnect_status, REDIS_ERR);
        CHECK_EQ(killing.disconnects, 1);
        CHECK_OK(weir_context_restart(context));

        connect_to(&late, context); /* nobody is there */
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_EQ(late.connects, 1);
        CHECK_EQ(late.connect_status, REDIS_ERR);
        CHECK_OK(weir_context_restart(context));

        start_server();
        connect_to(&late, context);
        CHECK_EQ(redisAsyncCommand(late.redis, quit, NULL, "PING"), REDIS_OK);
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_EQ(late.connect_status, REDIS_OK);
        CHECK_EQ(late.replies, 1);
        CHECK_EQ(late.disconnect_status, REDIS_OK);
        CHECK_OK(weir_context_restart(context));
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_refused_connect_is_told_once_and_its_commands_too)
{
    weir_context *context = new_context();
    int fds = count_fds();
    struct client client;
    signal(SIGPIPE, SIG_IGN);
    server_port = unused_port();
    connect_to(&client, context);
    CHECK_EQ(redisAsyncCommand(client.redis, on_reply, NULL, "PING"), REDIS_OK);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(client.connects, 1);
    CHECK_EQ(client.connect_status, REDIS_ERR);
    CHECK_EQ(client.nulls, 1);
    CHECK_EQ(client.disconnects, 0);
    CHECK_EQ(count_fds(), fds);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_unix_socket_serves_as_well)
{
    weir_context *context = new_context();
    struct client client;
    start_server();
    serve(&client, context, redisAsyncConnectUnix(unix_path));
    for (int i = 0; i < 100; i++)
        CHECK_EQ(redisAsyncCommand(client.redis, on_reply, NULL, "PING"), REDIS_OK);
    CHECK_EQ(redisAsyncCommand(client.redis, quit, NULL, "PING"), REDIS_OK);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(client.replies, 101);
    CHECK_OK(weir_context_destroy(context));
}

/* An idle connection costs nothing: the room to write, which is always there, must not be told. */
static void look_at_turns(int status, void *user)
{
    struct client *client = user;
    CHECK_EQ(status, 0);
    CHECK(turns_of(client->context) < 100);
    redisAsyncDisconnect(client->redis);
}

TEST(an_idle_connection_lets_the_loop_sleep)
{
    weir_context *context = new_context();
    weir_timer *timer = new_timer(context);
    struct client client;
    start_server();
    connect_to(&client, context);
    CHECK_EQ(redisAsyncCommand(client.redis, on_reply, NULL, "PING"), REDIS_OK);
    CHECK_OK(weir_timer_expires_after(timer, 200 * CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, look_at_turns, &client));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(client.replies, 1);
    CHECK_EQ(client.disconnects, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* hiredis may want nothing for a while: a hang-up, which a level-triggered watch tells whether asked for or not, must not
 * keep the loop busy then. */
TEST(a_connection_that_waits_for_nothing_lets_the_loop_sleep)
{
    weir_context *context = new_context();
    struct client client;
    signal(SIGPIPE, SIG_IGN);
    server_port = unused_port();
    connect_to(&client, context); /* refused: hang-up and error hold from now on */
    client.redis->ev.delWrite(client.redis->ev.data);
    uint64_t before = turns_of(context);
    CHECK_OK(weir_context_run_for(context, 100 * CHECK_MS, NULL));
    CHECK(turns_of(context) - before < 20);
    CHECK_EQ(client.connects, 0);
    client.redis->ev.addWrite(client.redis->ev.data);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(client.connects, 1);
    CHECK_EQ(client.connect_status, REDIS_ERR);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- ends of all kinds */

TEST(a_disconnect_in_a_callback_lets_the_commands_before_it_finish)
{
    weir_context *context = new_context();
    struct client client;
    start_server();
    connect_to(&client, context);
    CHECK_EQ(redisAsyncCommand(client.redis, quit, NULL, "PING"), REDIS_OK);
    for (int i = 0; i < 50; i++)
        CHECK_EQ(redisAsyncCommand(client.redis, on_reply, NULL, "PING"), REDIS_OK);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(client.replies, 51);
    CHECK_EQ(client.disconnects, 1);
    CHECK_EQ(client.disconnect_status, REDIS_OK);
    CHECK_OK(weir_context_destroy(context));
}

static void free_it(redisAsyncContext *redis, void *data, void *user)
{
    on_reply(redis, data, user);
    if (data != NULL)
        redisAsyncFree(redis);
}

TEST(a_free_in_a_callback_ends_the_other_commands)
{
    weir_context *context = new_context();
    struct client client;
    start_server();
    connect_to(&client, context);
    CHECK_EQ(redisAsyncCommand(client.redis, free_it, NULL, "PING"), REDIS_OK);
    for (int i = 0; i < 50; i++)
        CHECK_EQ(redisAsyncCommand(client.redis, on_blocked, NULL, "BLPOP nothing 0"), REDIS_OK);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(client.replies, 1);
    CHECK_EQ(client.nulls, 50);
    CHECK_EQ(client.disconnects, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* hiredis itself survives this since 1.1. */
#if HIREDIS_MAJOR * 100 + HIREDIS_MINOR >= 101
static void disconnect_in_connect(const redisAsyncContext *redis, int status)
{
    CHECK_EQ(status, REDIS_OK);
    on_connect(redis, status);
    redisAsyncDisconnect((redisAsyncContext *)redis);
}

TEST(a_disconnect_in_the_connect_callback)
{
    weir_context *context = new_context();
    struct client client = {0};
    start_server();
    client.redis = redisAsyncConnect("127.0.0.1", server_port);
    client.redis->data = &client;
    CHECK_OK(weir_hiredis_attach(client.redis, context, NULL));
    CHECK_EQ(redisAsyncSetConnectCallback(client.redis, disconnect_in_connect), REDIS_OK);
    CHECK_EQ(redisAsyncSetDisconnectCallback(client.redis, on_disconnect), REDIS_OK);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(client.disconnects, 1);
    CHECK_OK(weir_context_destroy(context));
}
#endif

/* The reply is there and there is room to write, in one event: the reply's callback frees what would be written with. */
TEST(a_free_in_a_callback_while_more_is_to_be_written)
{
    weir_context *context = new_context();
    struct client client;
    start_server();
    connect_to(&client, context);
    CHECK_EQ(redisAsyncCommand(client.redis, free_it, NULL, "PING"), REDIS_OK);
    while (weir_context_poll(context, NULL) == 0) {
        struct pollfd entry = {client.redis->c.fd, POLLIN, 0};
        if (poll(&entry, 1, 1) == 1 && client.connects == 1)
            break; /* not read yet, as the last turn was before */
        CHECK(client.replies == 0);
    }
    CHECK_EQ(redisAsyncCommand(client.redis, on_blocked, NULL, "BLPOP nothing 0"), REDIS_OK);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(client.replies, 1);
    CHECK_EQ(client.nulls, 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_free_with_commands_pending_ends_them_at_once)
{
    weir_context *context = new_context();
    int fds = count_fds();
    struct client clients[3];
    start_server();
    /* Before the connection stands, when it stands, and with replies under way. */
    for (int turns = 0; turns < 3; turns++) {
        struct client *client = &clients[turns];
        connect_to(client, context);
        for (int i = 0; i < 100; i++)
            CHECK_EQ(redisAsyncCommand(client->redis, on_reply, NULL, "PING"), REDIS_OK);
        for (int i = 0; i < turns; i++)
            CHECK_OK(weir_context_run_one(context, NULL));
        redisAsyncFree(client->redis);
        CHECK_EQ(client->replies + client->nulls, 100);
        int before = client->replies + client->nulls;
        CHECK_OK(weir_context_run(context, NULL)); /* nothing comes after it, nothing is left */
        CHECK_EQ(client->replies + client->nulls, before);
        CHECK_OK(weir_context_restart(context));
    }
    CHECK_EQ(count_fds(), fds);
    CHECK_OK(weir_context_destroy(context));
}

TEST(the_weir_context_may_be_destroyed_first)
{
    struct client client;
    start_server();
    for (int turns = 0; turns < 2; turns++) {
        weir_context *context = new_context();
        connect_to(&client, context);
        CHECK_EQ(redisAsyncCommand(client.redis, on_blocked, NULL, "BLPOP nothing 0"), REDIS_OK);
        for (int i = 0; i < turns; i++)
            CHECK_OK(weir_context_run_one(context, NULL));
        CHECK_OK(weir_context_destroy(context));
        CHECK_EQ(client.nulls, 0); /* the commands are hiredis's, not the context's */
        CHECK_EQ(redisAsyncCommand(client.redis, on_blocked, NULL, "BLPOP nothing 0"), REDIS_OK);
        redisAsyncFree(client.redis);
        CHECK_EQ(client.nulls, 2);
    }
}

/* The watch's last completion must not overtake the callback in which the connection ended. */
static void end_and_run(redisAsyncContext *redis, void *data, void *user)
{
    struct client *client = redis->data;
    (void)user;
    CHECK(data != NULL);
    client->replies++;
    redisAsyncFree(redis);
    CHECK_OK(weir_context_poll(client->context, NULL));
    CHECK_OK(weir_context_run_for(client->context, CHECK_MS, NULL));
}

TEST(a_nested_run_in_the_callback_that_ends_the_connection)
{
    weir_context *context = new_context();
    struct client client;
    start_server();
    connect_to(&client, context);
    CHECK_EQ(redisAsyncCommand(client.redis, end_and_run, NULL, "PING"), REDIS_OK);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(client.replies, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- several threads and a strand */

enum { STRANDED = 20000 };
static weir_strand *strand;
static struct client stranded;
static int sent, inside;

static void on_stranded(redisAsyncContext *redis, void *data, void *user)
{
    (void)user;
    CHECK_EQ(weir_strand_running_in_this_thread(strand), 1);
    CHECK_EQ(inside++, 0);
    CHECK(data != NULL);
    if (++stranded.replies == STRANDED)
        redisAsyncDisconnect(redis);
    inside--;
}

static void send_some(int status, void *user)
{
    CHECK_EQ(status, 0);
    CHECK_EQ(inside++, 0);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(redisAsyncCommand(stranded.redis, on_stranded, NULL, "PING"), REDIS_OK);
    inside--;
    if ((sent += 20) < STRANDED)
        CHECK_OK(weir_strand_post(strand, send_some, user));
}

static void *run_thread(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

TEST(a_strand_serves_a_context_that_several_threads_run)
{
    weir_context *context = new_context_with(0, 3);
    pthread_t threads[3];
    start_server();
    CHECK_OK(weir_strand_create(context, &strand));
    stranded = (struct client){.redis = redisAsyncConnect("127.0.0.1", server_port), .context = context};
    stranded.redis->data = &stranded;
    CHECK_OK(weir_hiredis_attach(stranded.redis, context, strand));
    CHECK_EQ(redisAsyncSetDisconnectCallback(stranded.redis, on_disconnect), REDIS_OK);
    CHECK_OK(weir_strand_post(strand, send_some, NULL));
    for (int i = 0; i < 3; i++)
        threads[i] = start_thread(run_thread, context);
    for (int i = 0; i < 3; i++)
        join_thread(threads[i]);
    CHECK_EQ(stranded.replies, STRANDED);
    CHECK_EQ(stranded.disconnects, 1);
    CHECK_OK(weir_context_destroy(context));
}

#if HIREDIS_MAJOR >= 1
TEST(a_command_that_takes_too_long_is_timed_out)
{
    weir_context *context = new_context();
    struct client client;
    start_server();
    connect_to(&client, context);
    CHECK_EQ(redisAsyncSetTimeout(client.redis, (struct timeval){0, 50000}), REDIS_OK);
    CHECK_EQ(redisAsyncCommand(client.redis, on_blocked, NULL, "BLPOP nothing 0"), REDIS_OK);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(client.nulls, 1);
    CHECK_EQ(client.disconnects, 1);
    CHECK_EQ(client.disconnect_status, REDIS_ERR);
    CHECK_OK(weir_context_destroy(context));
}
#endif

#ifdef EXAMPLE
TEST(the_example_runs)
{
    char address[32], text[1024];
    start_server();
    snprintf(address, sizeof address, "127.0.0.1:%d", server_port);
    run_child((char *[]){EXAMPLE, address, "greeting", "hello", NULL}, 0, text, sizeof text);
    CHECK(strcmp(text, "SET greeting: OK\nGET greeting: hello\n") == 0);
    run_child((char *[]){EXAMPLE, unix_path, "greeting", "bye", NULL}, 0, text, sizeof text);
    CHECK(strcmp(text, "SET greeting: OK\nGET greeting: bye\n") == 0);
    run_child((char *[]){EXAMPLE, "127.0.0.1:1", "a", "b", NULL}, 1, text, sizeof text);
}
#endif

TEST_MAIN()
