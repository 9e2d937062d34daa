# Debian packages by CPack: libweirN (the library, N from the soname) and libweir-dev (headers, archive, CMake and
# pkg-config files, manual pages). Configure with -DWEIR_DEBIAN=ON -DCMAKE_INSTALL_PREFIX=/usr, build, and run cpack;
# `make package` does it.

set(WEIR_PACKAGE_MAINTAINER "The libweir authors <authors@libweir.invalid>" CACHE STRING "Maintainer of the packages")
set(WEIR_PACKAGE_REVISION 1 CACHE STRING "Debian revision of the packages")
set(weir_DEB_VERSION "${weir_VERSION}-${WEIR_PACKAGE_REVISION}")
set(_weir_runtime "libweir${weir_SOVERSION}")

# ---- what only a distribution's packages have: licence and changelogs, and no debug information

find_program(WEIR_GZIP gzip REQUIRED)
find_program(WEIR_STRIP strip REQUIRED)
mark_as_advanced(WEIR_GZIP WEIR_STRIP)
set(_weir_here "${PROJECT_BINARY_DIR}/package")
string(TIMESTAMP weir_DEB_DATE "%a, %d %b %Y %H:%M:%S +0000" UTC)
configure_file(packaging/changelog.in "${_weir_here}/changelog.Debian" @ONLY)
configure_file(CHANGELOG.md "${_weir_here}/changelog" COPYONLY)
foreach(_name changelog changelog.Debian)
    execute_process(COMMAND "${WEIR_GZIP}" -9nc "${_weir_here}/${_name}"
        OUTPUT_FILE "${_weir_here}/${_name}.gz" COMMAND_ERROR_IS_FATAL ANY)
endforeach()

foreach(_component runtime dev)
    set(_name libweir-dev)
    if(_component STREQUAL runtime)
        set(_name "${_weir_runtime}")
    endif()
    install(FILES packaging/copyright "${_weir_here}/changelog.gz" "${_weir_here}/changelog.Debian.gz"
        DESTINATION "${CMAKE_INSTALL_DATAROOTDIR}/doc/${_name}" COMPONENT ${_component})
endforeach()

set(_weir_to "\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}")
set(_weir_sections --remove-section=.comment --remove-section=.note)
list(JOIN _weir_sections " " _weir_sections)
install(CODE "execute_process(COMMAND \"${WEIR_STRIP}\" --strip-unneeded ${_weir_sections}
    \"${_weir_to}/libweir.so.${weir_VERSION}\" COMMAND_ERROR_IS_FATAL ANY)" COMPONENT runtime)
install(CODE "execute_process(COMMAND \"${WEIR_STRIP}\" --strip-debug --enable-deterministic-archives ${_weir_sections}
    \"${_weir_to}/libweir.a\" COMMAND_ERROR_IS_FATAL ANY)" COMPONENT dev)

# ---- the packages

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME libweir)
set(CPACK_PACKAGE_VENDOR "the libweir authors")
set(CPACK_PACKAGE_VERSION "${weir_VERSION}")
set(CPACK_PACKAGING_INSTALL_PREFIX "${CMAKE_INSTALL_PREFIX}")
set(CPACK_PACKAGE_DIRECTORY "${PROJECT_BINARY_DIR}")
set(CPACK_COMPONENTS_ALL runtime dev)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
# Folders as Debian has them, whatever the umask.
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE
    GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "${WEIR_PACKAGE_MAINTAINER}")
set(CPACK_DEBIAN_PACKAGE_RELEASE "${WEIR_PACKAGE_REVISION}")
set(CPACK_DEBIAN_PACKAGE_SOURCE libweir)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
# Makes the shlibs file, by which programs get their dependency, and the ldconfig trigger.
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")

set(CPACK_POST_BUILD_SCRIPTS "${PROJECT_SOURCE_DIR}/cmake/debian-trigger.cmake")

# The first line of each is its summary.
set(_weir_about "It has streams, datagrams, timers, signals, lookups, watches of file
descriptors, processes and jobs on threads behind opaque handles, with
callback completions or completion records.")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME "${_weir_runtime}")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA "${PROJECT_SOURCE_DIR}/packaging/triggers")
set(CPACK_DEBIAN_RUNTIME_DESCRIPTION "event loop for Linux as a C-ABI shared library
libweir is an event loop for programs in C and C++, and for bindings.
${_weir_about}")
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libweir-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "${_weir_runtime} (= ${weir_DEB_VERSION}), libc6-dev")
set(CPACK_DEBIAN_DEV_DESCRIPTION "event loop for Linux as a C-ABI library (development files)
libweir is an event loop for programs in C and C++, and for bindings.
${_weir_about}

This package has the headers for C and C++, the static library, the files for
CMake and pkg-config, and the manual pages.")
include(CPack)
