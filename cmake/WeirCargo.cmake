# Cargo as a build step. It is asked at every build and knows itself what is out of date.

find_program(WEIR_CARGO cargo HINTS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin" REQUIRED)

# rustc's name for this machine, and where its libraries are, in the toolchain that is used.
function(_weir_ask_rustc toolchain out_host out_sysroot)
    set(environment)
    if(toolchain)
        set(environment "RUSTUP_TOOLCHAIN=${toolchain}")
    endif()
    execute_process(
        COMMAND "${CMAKE_COMMAND}" -E env ${environment} "${WEIR_RUSTC}" -vV
        OUTPUT_VARIABLE text ERROR_VARIABLE problem RESULT_VARIABLE result)
    if(NOT result EQUAL 0)
        message(FATAL_ERROR "weir: rustc ${toolchain} does not run: ${problem}")
    endif()
    string(REGEX MATCH "host: ([^\n]+)" found "${text}")
    set(${out_host} "${CMAKE_MATCH_1}" PARENT_SCOPE)
    execute_process(
        COMMAND "${CMAKE_COMMAND}" -E env ${environment} "${WEIR_RUSTC}" --print sysroot
        OUTPUT_VARIABLE text OUTPUT_STRIP_TRAILING_WHITESPACE)
    set(${out_sysroot} "${text}" PARENT_SCOPE)
endfunction()

# Adds the target `name`, which makes libweir.so.VERSION, its two links and libweir.a in
# weir_LIBRARY_DIR. For a sanitizer build sets weir_SANITIZE_COMPILE and weir_SANITIZE_LINK.
function(weir_add_cargo_build name)
    if(WEIR_CARGO_PROFILE STREQUAL "dev")
        set(profile_dir debug)
    else()
        set(profile_dir "${WEIR_CARGO_PROFILE}")
    endif()
    set(made "${WEIR_CARGO_TARGET_DIR}/${profile_dir}")
    # The job server of an outer make is not handed on in a form that cargo could use.
    set(environment --unset=MAKEFLAGS --unset=MFLAGS)
    set(arguments)

    if(WEIR_SANITIZE)
        get_filename_component(bin "${WEIR_CARGO}" DIRECTORY)
        find_program(WEIR_RUSTC rustc HINTS "${bin}" REQUIRED)
        _weir_ask_rustc("${WEIR_SANITIZE_TOOLCHAIN}" host sysroot)
        # An explicit target keeps the flags away from build scripts.
        list(APPEND arguments --target "${host}")
        set(made "${WEIR_CARGO_TARGET_DIR}/${host}/${profile_dir}")
        set(flags "-Zsanitizer=${WEIR_SANITIZE} -Cforce-frame-pointers=yes -Cdebug-assertions=on")
        set(compile -fsanitize=${WEIR_SANITIZE} -fno-omit-frame-pointer -g)
        if(WEIR_SANITIZE STREQUAL "address")
            set(link -fsanitize=address)
        elseif(WEIR_SANITIZE STREQUAL "thread")
            string(APPEND flags " -Cunsafe-allow-abi-mismatch=sanitizer")
            # One runtime must serve both languages, and it must be as new as Rust's code.
            file(GLOB runtime "${sysroot}/lib/rustlib/${host}/lib/librustc-*_rt.tsan.a")
            if(NOT runtime)
                message(FATAL_ERROR "weir: the toolchain has no thread sanitizer runtime")
            endif()
            set(link -Wl,--whole-archive "${runtime}" -Wl,--no-whole-archive
                -rdynamic -lstdc++ -lm -ldl -lrt -lpthread)
        else()
            message(FATAL_ERROR "weir: WEIR_SANITIZE is \"\", address or thread")
        endif()
        list(APPEND environment "RUSTUP_TOOLCHAIN=${WEIR_SANITIZE_TOOLCHAIN}" "RUSTFLAGS=${flags}")
        set(weir_SANITIZE_COMPILE "${compile}" PARENT_SCOPE)
        set(weir_SANITIZE_LINK "${link}" PARENT_SCOPE)
    endif()

    set(lib "${weir_LIBRARY_DIR}")
    set(real "libweir.so.${weir_VERSION}")
    add_custom_target(${name} ALL
        COMMAND "${CMAKE_COMMAND}" -E env ${environment}
            "${WEIR_CARGO}" rustc --quiet --lib --crate-type cdylib,staticlib
            --manifest-path "${PROJECT_SOURCE_DIR}/Cargo.toml"
            --profile "${WEIR_CARGO_PROFILE}" --target-dir "${WEIR_CARGO_TARGET_DIR}" ${arguments}
        COMMAND "${CMAKE_COMMAND}" -E make_directory "${lib}"
        COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${made}/libweir.so" "${lib}/${real}"
        COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${made}/libweir.a" "${lib}/libweir.a"
        COMMAND "${CMAKE_COMMAND}" -E create_symlink "${real}" "${lib}/libweir.so.${weir_SOVERSION}"
        COMMAND "${CMAKE_COMMAND}" -E create_symlink "libweir.so.${weir_SOVERSION}" "${lib}/libweir.so"
        BYPRODUCTS "${lib}/${real}" "${lib}/libweir.so.${weir_SOVERSION}" "${lib}/libweir.so"
            "${lib}/libweir.a"
        COMMENT "Building libweir with cargo"
        VERBATIM)
endfunction()
