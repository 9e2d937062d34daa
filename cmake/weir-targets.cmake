# weir::weir and weir::weir_static, for the build tree, the install tree and add_subdirectory alike.
# Expects weir_VERSION, weir_SOVERSION, weir_INCLUDE_DIR, weir_LIBRARY_DIR, weir_PRIVATE_LIBRARIES.

if(NOT TARGET weir::weir)
    add_library(weir::weir SHARED IMPORTED ${weir_GLOBAL})
    set_target_properties(weir::weir PROPERTIES
        IMPORTED_LOCATION "${weir_LIBRARY_DIR}/libweir.so.${weir_VERSION}"
        IMPORTED_SONAME "libweir.so.${weir_SOVERSION}"
        INTERFACE_INCLUDE_DIRECTORIES "${weir_INCLUDE_DIR}")
    add_library(weir::weir_static STATIC IMPORTED ${weir_GLOBAL})
    set_target_properties(weir::weir_static PROPERTIES
        IMPORTED_LOCATION "${weir_LIBRARY_DIR}/libweir.a"
        INTERFACE_LINK_LIBRARIES "${weir_PRIVATE_LIBRARIES}"
        INTERFACE_INCLUDE_DIRECTORIES "${weir_INCLUDE_DIR}")
endif()
