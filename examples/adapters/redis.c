/*
 * Sets a key of a Redis server and reads it back, with hiredis on a weir context. It gives up after two seconds.
 *
 *     redis [HOST:PORT | /PATH/TO/SOCKET] [KEY VALUE]
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir.h>
#include <weir/hiredis.h>

struct program {
    const char *key;
    weir_timer *timer;
    redisAsyncContext *redis; /* NULL when hiredis has freed it */
    int failed;
};

static void fail(struct program *program, const char *why) {
    fprintf(stderr, "redis: %s\n", why);
    program->failed = 1;
}

/* `data` is the reply, or NULL where the connection ended before there was one. */
static void on_reply(redisAsyncContext *redis, void *data, void *user) {
    struct program *program = redis->data;
    const redisReply *reply = data;
    const char *command = user;
    if (reply == NULL) return;
    if (reply->type == REDIS_REPLY_ERROR) fail(program, reply->str);
    else printf("%s %s: %s\n", command, program->key, reply->str != NULL ? reply->str : "(nothing)");
    if (strcmp(command, "GET") == 0) redisAsyncDisconnect(redis);
}

static void on_connect(const redisAsyncContext *redis, int status) {
    struct program *program = redis->data;
    if (status == REDIS_OK) return;
    fail(program, redis->errstr);
    program->redis = NULL;
    weir_timer_cancel(program->timer, NULL);
}

static void on_disconnect(const redisAsyncContext *redis, int status) {
    struct program *program = redis->data;
    if (status != REDIS_OK) fail(program, redis->errstr);
    program->redis = NULL;
    weir_timer_cancel(program->timer, NULL); /* nothing is pending then, and run returns */
}

static void on_time(int status, void *user) {
    struct program *program = user;
    if (status != 0 || program->redis == NULL) return;
    fail(program, "no answer");
    redisAsyncFree(program->redis);
}

static void must(int error, const char *what) {
    if (error == 0) return;
    fprintf(stderr, "redis: %s: %s\n", what, weir_strerror(error));
    exit(1);
}

int main(int argc, char **argv) {
    char where[256] = "127.0.0.1:6379";
    const char *value = argc > 3 ? argv[3] : "hello from libweir";
    struct program program = {.key = argc > 3 ? argv[2] : "greeting"};
    weir_context *context = NULL;
    signal(SIGPIPE, SIG_IGN); /* hiredis may write to a connection that is gone */
    if (argc > 1) snprintf(where, sizeof where, "%s", argv[1]);
    must(weir_context_create(NULL, &context), "context");
    must(weir_timer_create(context, &program.timer), "timer");

    char *port = strrchr(where, ':');
    if (port != NULL) *port++ = 0;
    program.redis = port != NULL ? redisAsyncConnect(where, atoi(port)) : redisAsyncConnectUnix(where);
    if (program.redis == NULL || program.redis->err != 0) {
        fprintf(stderr, "redis: %s: %s\n", where, program.redis != NULL ? program.redis->errstr : "no memory");
        return 1;
    }
    program.redis->data = &program;
    must(weir_hiredis_attach(program.redis, context, NULL), "attach");
    redisAsyncSetConnectCallback(program.redis, on_connect);
    redisAsyncSetDisconnectCallback(program.redis, on_disconnect);
    redisAsyncCommand(program.redis, on_reply, "SET", "SET %s %s", program.key, value);
    redisAsyncCommand(program.redis, on_reply, "GET", "GET %s", program.key);

    must(weir_timer_expires_after(program.timer, 2000000000), "timer");
    must(weir_timer_wait(program.timer, on_time, &program), "timer");
    must(weir_context_run(context, NULL), "run");
    weir_context_destroy(context);
    return program.failed;
}
