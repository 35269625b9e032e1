# A table of rungs: add_rung(SOURCE ISA) for each of their files, relative to cpp/study, or
# add_cuda_ladders for those of CUDA; then write_rungs(FILE). rungs.cpp.in says what becomes of it.
set(declarations "")
set(entries "")
set(study_folder ${CMAKE_CURRENT_LIST_DIR})

macro(add_rung source isa)  # and the source's own name for its function
  string(REGEX MATCH "^([a-z0-9_]+)/([0-9]+)_" ignored ${source})
  set(rung ${CMAKE_MATCH_1}_${CMAKE_MATCH_2})
  set_property(SOURCE ${study_folder}/${source} PROPERTY COMPILE_DEFINITIONS ALEXNET_RUNG=${rung})
  math(EXPR number "${CMAKE_MATCH_2}")
  string(APPEND declarations "void alexnet_study_${rung}_${isa}();\n")
  string(APPEND entries "    {\"${CMAKE_MATCH_1}\", ${number}, \"${isa}\", "
                        "alexnet_study_${rung}_${isa}},\n")
endmacro()

# Write one source a ladder for CUDA into `folder`, and set `sources` to them: headers take longer to
# compile than rungs. Each rung is in a namespace of its own, behind the headers that they include.
# With `hopper` it is the rungs for Hopper, those that include hopper.cuh, else all others.
macro(add_cuda_ladders folder sources hopper)
  file(GLOB headers RELATIVE ${study_folder}/cuda CONFIGURE_DEPENDS ${study_folder}/cuda/*.cuh)
  set(suffix _hopper)
  if(NOT ${hopper})
    set(suffix "")
    list(REMOVE_ITEM headers hopper.cuh)
  endif()
  list(TRANSFORM headers REPLACE "(.+)" "#include \"\\1\"\n" OUTPUT_VARIABLE includes)
  string(CONCAT includes ${includes})
  file(GLOB folders RELATIVE ${study_folder} ${study_folder}/*_cuda)
  set(${sources} "")
  foreach(ladder IN LISTS folders)
    set(text "")
    file(GLOB rungs RELATIVE ${study_folder} CONFIGURE_DEPENDS
         ${study_folder}/${ladder}/[0-9][0-9]_*.cu)
    foreach(source IN LISTS rungs)
      file(STRINGS ${study_folder}/${source} is_hopper REGEX "^#include \"hopper\\.cuh\"")
      if((is_hopper AND NOT ${hopper}) OR (${hopper} AND NOT is_hopper))
        continue()
      endif()
      add_rung(${source} cuda)
      string(APPEND text "\n#define ALEXNET_RUNG ${rung}\nnamespace ${rung} {\n"
                         "#include \"${study_folder}/${source}\"\n}\n#undef ALEXNET_RUNG\n")
    endforeach()
    if(text)
      file(CONFIGURE OUTPUT ${folder}/${ladder}${suffix}.cu CONTENT "${includes}${text}" @ONLY)
      list(APPEND ${sources} ${folder}/${ladder}${suffix}.cu)
    endif()
  endforeach()
endmacro()

macro(write_rungs file)
  configure_file(${study_folder}/rungs.cpp.in ${file} @ONLY)
endmacro()
