# Programs of this repository that use the library: tests, examples, benchmarks.

# What every C program here is compiled with.
add_library(weir_program INTERFACE)
find_package(Threads REQUIRED)
target_compile_definitions(weir_program INTERFACE _GNU_SOURCE)
target_compile_options(weir_program INTERFACE -Wall -Wextra ${weir_SANITIZE_COMPILE})
if(WEIR_TOP_LEVEL)
    target_compile_options(weir_program INTERFACE -Werror)
endif()
target_link_libraries(weir_program INTERFACE weir::weir Threads::Threads ${weir_SANITIZE_LINK})

# Adds the executable `name`, made of one C source, to `folder` of the build tree.
function(weir_add_program name source folder)
    add_executable(${name} "${source}")
    target_link_libraries(${name} PRIVATE weir_program)
    set_target_properties(${name} PROPERTIES
        C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF
        RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/${folder}")
endfunction()

# The same for one C++ source and a standard. An address sanitizer build checks for undefined behaviour too: in C++ there
# is the header's code to be checked.
function(weir_add_cpp_program name source folder standard)
    add_executable(${name} "${source}")
    target_link_libraries(${name} PRIVATE weir_program)
    target_compile_options(${name} PRIVATE -Wpedantic -Wconversion -Wshadow)
    if(WEIR_SANITIZE STREQUAL "address")
        # Optimised, gcc takes five times as long to compile this.
        target_compile_options(${name} PRIVATE -fsanitize=undefined -fno-sanitize-recover=all -O0)
        target_link_options(${name} PRIVATE -fsanitize=undefined)
    elseif(WEIR_SANITIZE)
        target_compile_options(${name} PRIVATE -O1)
    endif()
    set_target_properties(${name} PROPERTIES
        CXX_STANDARD ${standard} CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF
        RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/${folder}")
endfunction()
