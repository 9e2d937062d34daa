/* The part of weir/pq.h that holds where OpenSSL's header is not included before it. */
#include <weir/pq.h>

#ifdef OPENSSL_VERSION_NUMBER
#error "this is to be compiled without OpenSSL's header"
#endif

int plain_attach(PGconn *conn, weir_context *context, weir_pq **out, weir_callback callback, void *user);
int plain_collect(weir_pq *pq, weir_pq_result_callback callback, void *user);

int plain_attach(PGconn *conn, weir_context *context, weir_pq **out, weir_callback callback, void *user)
{
    return weir_pq_attach(conn, context, NULL, WEIR_FOREVER, out, callback, user);
}

int plain_collect(weir_pq *pq, weir_pq_result_callback callback, void *user)
{
    return weir_pq_collect(pq, callback, user);
}
