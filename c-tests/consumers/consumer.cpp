// Runs one post and one timer, and says so.
#include <weir.h>

#include <iostream>
#include <stdexcept>
#include <string>

namespace {

struct State {
    int posted = 0;
    int fired = 0;
};

void check(const char *what, int code)
{
    if (code != 0)
        throw std::runtime_error(std::string(what) + ": " + weir_strerror(code));
}

class Context {
public:
    Context() { check("weir_context_create", weir_context_create(nullptr, &context_)); }
    ~Context() { weir_context_destroy(context_); }
    Context(const Context &) = delete;
    Context &operator=(const Context &) = delete;
    weir_context *get() const { return context_; }

private:
    weir_context *context_ = nullptr;
};

} // namespace

int main()
{
    try {
        State state;
        Context context;
        weir_timer *timer = nullptr;
        check("weir_timer_create", weir_timer_create(context.get(), &timer));
        check("weir_timer_expires_after", weir_timer_expires_after(timer, 1000000));
        check("weir_timer_wait", weir_timer_wait(
            timer,
            [](int status, void *user) { static_cast<State *>(user)->fired += status == 0; },
            &state));
        check("weir_context_post", weir_context_post(
            context.get(),
            [](int status, void *user) { static_cast<State *>(user)->posted += status == 0; },
            &state));
        check("weir_context_run", weir_context_run(context.get(), nullptr));
        check("weir_timer_close", weir_timer_close(timer));
        std::cout << "C++ on libweir " << weir_version_string() << ": " << state.posted << " post, "
                  << state.fired << " timer\n";
        return state.posted == 1 && state.fired == 1 ? 0 : 1;
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
