// The same on libweir: jobs run on threads of the library's, and each hands over what it returns.
#include <algorithm>
#include <cstdio>
#include <vector>
#include <weir.hpp>

int main() {
    weir::context context;
    weir::job::set_limit(2);
    std::vector<int> results;

    for (int number = 1; number <= 5; number++) {
        weir::check(weir::start_job(
            context, [number] { return number * number; },
            [&](std::error_code error, weir::outcome<int> result) {
                if (!error) results.push_back(std::move(result).get());
            }));
    }
    context.run(); // until the last job has been told of

    int sum = 0;
    std::sort(results.begin(), results.end());
    for (int result : results) {
        std::printf("got %d\n", result);
        sum += result;
    }
    std::printf("sum %d\n", sum);
    return 0;
}
