// A pool of threads computes, one io_context gathers the results.
#include <algorithm>
#include <asio.hpp>
#include <cstdio>
#include <vector>

int main() {
    asio::io_context context;
    asio::thread_pool pool(2);
    std::vector<int> results;

    for (int number = 1; number <= 5; number++) {
        asio::post(pool, [&, number, work = asio::make_work_guard(context)] {
            int result = number * number;
            asio::post(context, [&, result] { results.push_back(result); }); // never two at once: one thread runs it
        });
    }
    context.run(); // until the last guard has gone, and the last function has been called
    pool.join();

    int sum = 0;
    std::sort(results.begin(), results.end());
    for (int result : results) {
        std::printf("got %d\n", result);
        sum += result;
    }
    std::printf("sum %d\n", sum);
    return 0;
}
